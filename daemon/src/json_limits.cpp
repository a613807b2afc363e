#include "json_limits.hpp"

#include <string>
#include <utility>
#include <vector>

namespace atoll_ipc::daemon {
namespace {

using nlohmann::json;

// Builds the value and looks at the limits while it does.
class LimitedBuilder : public json::json_sax_t {
 public:
  bool null() override { return take(nullptr); }
  bool boolean(bool value) override { return take(value); }
  bool number_integer(number_integer_t value) override { return take(value); }
  bool number_unsigned(number_unsigned_t value) override { return take(value); }
  bool number_float(number_float_t value, const string_t&) override { return take(value); }
  bool string(string_t& value) override { return take(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // no JSON text holds any
  bool start_object(std::size_t) override { return open(json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (++keys_ > kMaxJsonKeys) return wrong("has more than " + std::to_string(kMaxJsonKeys) + " keys");
    Level& level = levels_.back();
    level.key = name;
    auto [at, added] = level.value->get_ref<json::object_t&>().try_emplace(std::move(name));
    if (!added) return wrong("has the field '" + path() + "' twice");
    level.member = &at->second;
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
  [[nodiscard]] json& result() noexcept { return root_; }

 private:
  // An object or array that is not closed yet. Nothing moves it: what holds it does not grow until it is closed.
  struct Level {
    json* value;
    json* member = nullptr;  // of an object: what the last key names
    std::string key{};
  };
  json& put(json value) {
    if (levels_.empty()) return root_ = std::move(value);
    Level& level = levels_.back();
    if (level.member != nullptr) return *level.member = std::move(value);
    level.value->get_ref<json::array_t&>().push_back(std::move(value));
    return level.value->back();
  }
  bool take(json value) {
    put(std::move(value));
    return true;
  }
  bool open(json empty) {
    if (levels_.size() >= kMaxJsonDepth) return wrong("is nested deeper than " + std::to_string(kMaxJsonDepth) + " at field '" + path() + "'");
    json& opened = put(std::move(empty));
    levels_.push_back({&opened});
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
      if (level.key.empty()) continue;
      if (!out.empty()) out += '.';
      for (const char c : level.key.substr(0, 64)) out += static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126 ? '?' : c;
    }
    return out.substr(0, 200);
  }

  json root_;
  std::vector<Level> levels_;
  unsigned keys_ = 0;
  std::string reason_;
};

}  // namespace

Result<json> parse_message(std::string_view text) {
  const auto wrong = [](const std::string& why) {
    return fail(Errc::protocol_error, "the message " + why, {}, 0, "send one JSON object ended by a NUL byte, as dev.atoll.Broker.varlink describes");
  };
  LimitedBuilder builder;
  if (!json::sax_parse(text, &builder)) return wrong(builder.reason().empty() ? "is not JSON" : builder.reason());
  if (!builder.result().is_object()) return wrong("is no JSON object");
  return std::move(builder.result());
}

}  // namespace atoll_ipc::daemon
