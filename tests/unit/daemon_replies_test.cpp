// Replies as they are sent.
#include "replies.hpp"

#include <catch2/catch.hpp>

using nlohmann::json;
namespace daemon_ = atoll_ipc::daemon;

TEST_CASE("a manifest beside the parameters is sent as one of them") {
  const std::string manifest = json{{"path", "/a \"b\" \\c\\ \n\t\u0001 \u00fc"}, {"list", {1, 2}}}.dump(1) + "\n";
  daemon_::Reply reply;
  reply.parameters = {{"attachment", 7}, {"fds", {{{"role", "\"manifest\":\""}}}}, {"producer_id", 9}};
  json expected{{"parameters", reply.parameters}};
  expected["parameters"]["manifest"] = manifest;
  reply.manifest = manifest;
  CHECK(daemon_::text_of(reply) == expected.dump());
}

TEST_CASE("a reply without a manifest has none") {
  daemon_::Reply reply;
  reply.parameters = {{"removed", true}};
  CHECK(daemon_::text_of(reply) == R"({"parameters":{"removed":true}})");
}
