// Names of segments and groups: protocol/names.hpp.
#include <catch2/catch.hpp>
#include <string>

#include "atoll/protocol/names.hpp"

using atoll_ipc::protocol::path_component;
using atoll_ipc::protocol::valid_group;
using atoll_ipc::protocol::valid_name;

TEST_CASE("a name is parts of letters, digits, dot, underscore and dash joined by single slashes") {
  for (const char* name : {"a", "Z", "0", "_", "prices", "a/b", "a/b/c", "a.b-c_d", "v1.2", "_x", "a-", "a.", "9/9"}) {
    INFO(name);
    CHECK(valid_name(name));
  }
}

TEST_CASE("a name that could leave its directory, hide or confuse is refused") {
  for (const char* name : {"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.b", ".a", "-a", "a/-b", "a b", "a\n", "a\tb", "a\x1b[2J", "a+b",
                           "a\\b", "a:b", "a@1", "\xc3\xa4", "a*", "~a", "$a"}) {
    INFO(name);
    CHECK_FALSE(valid_name(name));
  }
}

TEST_CASE("a NUL byte inside a name is refused, not taken for its end") {
  CHECK_FALSE(valid_name(std::string_view("a\0b", 3)));
  CHECK_FALSE(valid_name(std::string_view("a\0", 2)));
}

TEST_CASE("a name has at most 128 bytes and a group's at most 64") {
  CHECK(valid_name(std::string(128, 'n')));
  CHECK_FALSE(valid_name(std::string(129, 'n')));
  CHECK(valid_group(std::string(64, 'g')));
  CHECK_FALSE(valid_group(std::string(65, 'g')));
}

TEST_CASE("a group's name has no slash") {
  CHECK(valid_group("workers-1"));
  CHECK_FALSE(valid_group("a/b"));
  CHECK_FALSE(valid_group(""));
}

TEST_CASE("different names become different path components, without a slash") {
  CHECK(path_component("a/b") == "a+b");
  CHECK(path_component("plain") == "plain");
  CHECK_FALSE(valid_name("a+b"));  // so no name meets the component of another
}
