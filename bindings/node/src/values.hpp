// Between the C interface's values and JavaScript's. Used by every other file here; knows no handles.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "atoll/atoll.h"

namespace atoll_node {

// {code, message, segment, fix, detail}: what lib/errors.js makes an AtollError of.
Napi::Object error_object(Napi::Env env, const atoll_error& error);

// JSON text as JavaScript values. Integers that a number cannot hold exactly become BigInt, and so do
// those of members whose name ends in "_ns", always. Throws a JavaScript SyntaxError.
Napi::Value parse_json(Napi::Env env, std::string_view text);

// Milliseconds (may be Infinity; negative: no limit) as the C interface's nanoseconds.
std::int64_t nanoseconds(double milliseconds);

// A member of an options object that lib/ has checked; the fallback if undefined.
std::string string_option(const Napi::Object& options, const char* name);
double number_option(const Napi::Object& options, const char* name, double fallback);
std::uint64_t unsigned_option(const Napi::Object& options, const char* name);

// A BigInt or a whole number of [0, 2^64). False if it is neither.
bool read_unsigned(napi_env env, napi_value value, std::uint64_t* out);

// The memory of a Buffer, TypedArray, DataView or ArrayBuffer. False for anything else.
bool read_bytes(napi_env env, napi_value value, const void** data, std::size_t* length);

}  // namespace atoll_node
