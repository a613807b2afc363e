// Reading control messages that may be hostile.
#include <catch2/catch.hpp>
#include <string>

#include "arguments.hpp"
#include "json_limits.hpp"

using namespace atoll_ipc;
using namespace atoll_ipc::daemon;

namespace {
std::string message_of(const std::string& text) {
  const auto parsed = parse_message(text);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code == Errc::protocol_error);
  return parsed.error().message;
}
}  // namespace

TEST_CASE("a plain call is read as it is") {
  const auto parsed = parse_message(R"({"method":"x","parameters":{"n":18446744073709551615,"s":"ä"}})");
  REQUIRE(parsed);
  CHECK((*parsed)["parameters"]["n"].get<std::uint64_t>() == UINT64_MAX);
}

TEST_CASE("sixteen levels are read and seventeen are not") {
  std::string text = R"({"a":)" + std::string(15, '[') + std::string(15, ']') + "}";
  CHECK(parse_message(text));
  text = R"({"a":)" + std::string(16, '[') + std::string(16, ']') + "}";
  CHECK(message_of(text).find("deeper than 16 at field 'a'") != std::string::npos);
}

TEST_CASE("4096 keys are read and 4097 are not") {
  std::string text = "{\"k\":0";
  for (int i = 1; i < 4096; ++i) text += ",\"" + std::to_string(i) + "\":0";
  CHECK(parse_message(text + "}"));
  CHECK(message_of(text + ",\"more\":0}").find("4096 keys") != std::string::npos);
}

TEST_CASE("a field that stands twice is named by its path, in its own object only") {
  CHECK(message_of(R"({"a":{"b":{"c":1,"c":2}}})").find("'a.b.c' twice") != std::string::npos);
  CHECK(parse_message(R"({"a":{"c":1},"b":{"c":1}})"));
  CHECK(parse_message(R"({"a":[{"c":1},{"c":1}]})"));
}

TEST_CASE("what is no JSON, no object or no UTF-8 is refused with a printable reason") {
  for (const std::string text : {"", "nonsense", "[]", "5", "null", "{\"a\":\"\xff\"}", "{\"\x01\":1}", "{\"a\":1}x", "{\"a\":1e}", "\"\\ud800\""}) {
    const std::string why = message_of(text);
    for (const char c : why) CHECK((c >= 32 && c < 127));
  }
}

TEST_CASE("arguments name the first field that is wrong") {
  const auto object = nlohmann::json::parse(R"({"number":5,"text":"t","flag":true,"null":null,"typo":1,"fraction":1.5,"huge":1e30})");
  const auto failing = [&](auto read) {
    Arguments in(object);
    read(in);
    const auto done = in.done();
    REQUIRE_FALSE(done);
    return done.error();
  };
  CHECK(failing([](Arguments& in) { in.text("missing"); }).message == "the parameter 'missing' is missing");
  CHECK(failing([](Arguments& in) { in.text("null"); }).message == "the parameter 'null' is missing");
  CHECK(failing([](Arguments& in) { in.text("number"); }).message == "the parameter 'number' is not a string");
  CHECK(failing([](Arguments& in) { in.number("text", 0, 9); }).code == Errc::protocol_error);
  CHECK(failing([](Arguments& in) { in.number("number", 6, 9); }).code == Errc::invalid_argument);
  CHECK(failing([](Arguments& in) { in.number("huge", 6, 9); }).code == Errc::invalid_argument);
  CHECK(failing([](Arguments& in) { in.flag("number"); }).message.find("true or false") != std::string::npos);
  const auto unknown = failing([](Arguments& in) {
    for (const char* field : {"number", "fraction", "huge"}) static_cast<void>(in.has(field));
    in.text("text");
    in.flag("flag");
    CHECK_FALSE(in.optional_text("null"));
  });
  CHECK(unknown.message.find("'typo'") != std::string::npos);
}
