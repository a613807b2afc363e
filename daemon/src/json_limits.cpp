#include "json_limits.hpp"

#include <set>
#include <string>
#include <vector>

namespace atoll_ipc::daemon {
namespace {

using nlohmann::json;

// Looks at the events only; the values are built by a second pass once all is well.
class LimitChecker : public json::json_sax_t {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (++keys_ > kMaxJsonKeys) return wrong("has more than " + std::to_string(kMaxJsonKeys) + " keys");
    Level& level = levels_.back();
    level.current = name;
    if (!level.seen.insert(name).second) return wrong("has the field '" + path() + "' twice");
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& exception) override {
    // nlohmann's texts: "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ..."
    std::string why = exception.what();
    if (const auto at = why.find("syntax error"); at != std::string::npos) why = why.substr(at);
    if (why.size() > 200) why.resize(200);
    for (char& c : why)
      if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126) c = '?';
    return wrong("is not JSON at byte " + std::to_string(position) + (levels_.empty() || path().empty() ? "" : ", in field '" + path() + "'") + ": " + why);
  }
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

 private:
  struct Level {
    std::string current;
    std::set<std::string> seen;
  };
  bool open() {
    if (levels_.size() >= kMaxJsonDepth) return wrong("is nested deeper than " + std::to_string(kMaxJsonDepth) + " at field '" + path() + "'");
    levels_.emplace_back();
    return true;
  }
  bool close() {
    levels_.pop_back();
    return true;
  }
  bool wrong(std::string why) {
    reason_ = std::move(why);
    return false;
  }
  [[nodiscard]] std::string path() const {
    std::string out;
    for (const Level& level : levels_) {
      if (level.current.empty()) continue;
      if (!out.empty()) out += '.';
      for (const char c : level.current.substr(0, 64)) out += static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126 ? '?' : c;
    }
    return out.substr(0, 200);
  }

  std::vector<Level> levels_;
  unsigned keys_ = 0;
  std::string reason_;
};

}  // namespace

Result<json> parse_message(std::string_view text) {
  const auto wrong = [](const std::string& why) {
    return fail(Errc::protocol_error, "the message " + why, {}, 0, "send one JSON object ended by a NUL byte, as dev.atoll.Broker.varlink describes");
  };
  LimitChecker checker;
  if (!json::sax_parse(text, &checker)) return wrong(checker.reason().empty() ? "is not JSON" : checker.reason());
  json message = json::parse(text, nullptr, false);
  if (!message.is_object()) return wrong("is no JSON object");
  return message;
}

}  // namespace atoll_ipc::daemon
