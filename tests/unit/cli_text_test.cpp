// Sizes, ages and bytes as the command reads and prints them.
#include "text.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>

using namespace atoll_ipc::cli;

TEST_CASE("a size may be written in bytes or with a unit") {
  CHECK(parse_size("0") == 0);
  CHECK(parse_size("4096") == 4096);
  CHECK(parse_size("4096B") == 4096);
  CHECK(parse_size("64KiB") == 64 * 1024);
  CHECK(parse_size("64K") == 64 * 1024);
  CHECK(parse_size("64kb") == 64 * 1024);
  CHECK(parse_size("1MiB") == 1u << 20);
  CHECK(parse_size("1G") == 1u << 30);
  CHECK(parse_size("1.5M") == 3u << 19);
  CHECK(parse_size("16777215T") == 16777215ull << 40);
  CHECK(parse_size("18446744073709551615") == UINT64_MAX);
}

TEST_CASE("what is no size or does not fit is refused") {
  for (const char* text : {"", " ", "K", "-1", "+1", "1X", "1KiBs", "1 K", "0x10", "1e3", "nan", "inf", "1.0001K", "0.5", "18446744073709551616",
                           "16777216T", "99999999999999999999G", "1MM", "1Bi"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_size(text).has_value());
  }
}

TEST_CASE("a size for people has at most five characters") {
  CHECK(size_for_people(0) == "0");
  CHECK(size_for_people(1023) == "1023");
  CHECK(size_for_people(1024) == "1K");
  CHECK(size_for_people(1536) == "1.5K");
  CHECK(size_for_people(1060864) == "1.0M");
  CHECK(size_for_people(10 * 1024 + 600) == "11K");
  CHECK(size_for_people((1u << 20) - 1) == "1.0M");
  CHECK(size_for_people(UINT64_MAX) == "16E");
  for (std::uint64_t bytes = 1; bytes != 0; bytes <<= 1) CHECK(size_for_people(bytes - 1).size() <= 5);
}

TEST_CASE("an age is one number and a unit") {
  CHECK(age_for_people(0) == "0s");
  CHECK(age_for_people(119) == "119s");
  CHECK(age_for_people(120) == "2m");
  CHECK(age_for_people(7199) == "119m");
  CHECK(age_for_people(7200) == "2h");
  CHECK(age_for_people(172800) == "2d");
}

TEST_CASE("thousands are set apart") {
  CHECK(with_thousands(0) == "0");
  CHECK(with_thousands(999) == "999");
  CHECK(with_thousands(1000) == "1,000");
  CHECK(with_thousands(231083) == "231,083");
  CHECK(with_thousands(UINT64_MAX) == "18,446,744,073,709,551,615");
}

TEST_CASE("base64 pads the last group") {
  CHECK(base64("").empty());
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64("foo") == "Zm9v");
  CHECK(base64("\xff\xfe\xfd\xfc") == "//79/A==");
}

TEST_CASE("UTF-8 is told from other bytes") {
  CHECK(is_utf8(""));
  CHECK(is_utf8("plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"));
  for (const char* text : {"\xff", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "a\x80", "\xe2\x82"}) {
    CAPTURE(text);
    CHECK_FALSE(is_utf8(text));
  }
}

TEST_CASE("nothing that steers a terminal passes the escaping") {
  CHECK(escape_for_terminal("plain ä", false) == "plain ä");
  CHECK(escape_for_terminal("\x1b[31m\x07\x7f", false) == "\\x1b[31m\\x07\\x7f");
  CHECK(escape_for_terminal("a\nb\tc\r", true) == "a\nb\tc\\x0d");
  CHECK(escape_for_terminal("a\nb\tc", false) == "a\\x0ab\\x09c");
  CHECK(escape_for_terminal("\xc2\x9b" "31m", false) == "\\u009b31m");
  CHECK(escape_for_terminal("\xe2\x80\xae" "txt", false) == "\\u202etxt");
  CHECK(escape_for_terminal("\xff\xc3", false) == "\\xff\\xc3");
}

TEST_CASE("cut text takes the width and says which side is missing") {
  ::setenv("LC_ALL", "C.UTF-8", 1);  // read once, at the first cut
  CHECK(cut_to("short", 5, Cut::end) == "short");
  CHECK(cut_to("longer", 5, Cut::end) == "long…");
  CHECK(cut_to("longer", 5, Cut::start) == "…nger");
  CHECK(cut_to("ääääää", 3, Cut::end) == "ää…");
  CHECK(cut_to("ääääää", 3, Cut::start) == "…ää");
  CHECK(cut_to("longer", 1, Cut::end) == "…");
  CHECK(cut_to("longer", 0, Cut::end).empty());
  CHECK(columns("ä…x") == 3);
}
