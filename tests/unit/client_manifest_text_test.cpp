// What the client's JSON parser is spared: nothing that it would have refused or read differently.
#include "manifest_text.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "atoll/protocol/manifest.hpp"

using atoll_ipc::take_manifest;
using atoll_ipc::without_layout;
using nlohmann::json;

namespace {

atoll_ipc::protocol::Manifest stream() {
  using namespace atoll_ipc::protocol;
  Manifest manifest;
  manifest.name = "a/b";
  manifest.kind = Kind::stream;
  manifest.generation = 3;
  manifest.capacity = 4096;
  manifest.alignment = 16;
  manifest.uuid[0] = 1;
  for (const Role role : {Role::header, Role::bell}) {
    ManifestFile file;
    file.role = role;
    file.size = kPageSize;
    file.path = "/dev/shm/\"odd\\one\nü";
    manifest.files.push_back(file);
  }
  return manifest;
}

}  // namespace

TEST_CASE("a manifest is taken out of a reply as the parser would read it") {
  const std::string text = atoll_ipc::protocol::manifest_text(stream());
  const json whole{{"parameters", {{"attachment", 7}, {"manifest", text}, {"producer_id", 9}}}};
  std::string reply = whole.dump();
  CHECK(take_manifest(reply) == text);
  json rest = json::parse(reply);
  CHECK(rest["parameters"]["manifest"] == "");
  rest["parameters"]["manifest"] = text;
  CHECK(rest == whole);
}

TEST_CASE("what is not a plain string in a member named manifest stays in the reply") {
  for (const std::string reply :
       {R"({"parameters":{}})", R"({"parameters":{"manifest":7}})", R"({"a":"x,\"manifest\":\"y"})", R"({"a\"manifest":"y"})",
        R"({"manifest":"\u0041"})", R"({"manifest":"a\tb"})", R"({"manifest":"never ends)", R"({"manifest":"ends in \)", "{\"manifest\":\"line\nbreak\"}",
        R"("manifest":"x")", ""}) {
    std::string left = reply;
    CHECK(take_manifest(left).empty());
    CHECK(left == reply);
  }
}

TEST_CASE("a manifest without its layout says the same") {
  const std::string text = atoll_ipc::protocol::manifest_text(stream());
  const std::string shorter = without_layout(text);
  CHECK(shorter.size() < text.size() / 4);
  json expected = json::parse(text);
  expected["layout"] = 0;
  CHECK(json::parse(shorter) == expected);
  atoll_ipc::protocol::Manifest read;
  CHECK(!atoll_ipc::protocol::parse_manifest(shorter, read));
  CHECK(read.files[1].path == "/dev/shm/\"odd\\one\nü");
}

TEST_CASE("only an object named layout in the outermost object is left out") {
  for (const char* text : {R"({"a":{"layout":{"b":1}}})", R"({"name":"layout","b":[{}]})", R"({"name":"\"layout\"","b":{}})", R"({"layout":[1,2]})",
                           R"({"layout":{"never":"ends)", R"({"layout")", R"("layout)", "}}{", ""}) {
    INFO(text);
    CHECK(without_layout(text) == text);
  }
  CHECK(without_layout(R"({"layout" : {"a":["}",{}]}, "z":"}"})") == R"({"layout" : 0, "z":"}"})");
}
