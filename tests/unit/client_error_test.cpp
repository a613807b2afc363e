// Results for programs that rather have exceptions.
#include "atoll/error.hpp"

#include <catch2/catch.hpp>

using namespace atoll_ipc;

TEST_CASE("or_throw gives the value, also one that can only be moved, and nothing for a result without one") {
  CHECK(or_throw(Result<int>(7)) == 7);
  CHECK(*or_throw(Result<std::unique_ptr<int>>(std::make_unique<int>(8))) == 8);
  CHECK_NOTHROW(or_throw(Result<void>()));
}

TEST_CASE("or_throw throws what happened, and how to mend it") {
  const Result<void> failed = fail(Errc::unknown_segment, "there is no segment 'x'", "x", 3, "create it");
  try {
    or_throw(failed);
    FAIL("it did not throw");
  } catch (const Exception& exception) {
    CHECK(std::string(exception.what()) == "unknown_segment: there is no segment 'x'\nfix: create it");
    CHECK(exception.error().code() == Errc::unknown_segment);
    CHECK(exception.error().segment() == "x");
    CHECK(exception.error().detail() == 3);
  }
}

TEST_CASE("an error that is only a code is thrown with the words of the list") {
  CHECK_THROWS_WITH(or_throw(Result<int>(fail(Errc::timed_out))), Catch::StartsWith("timed_out: the time limit passed first"));
}
