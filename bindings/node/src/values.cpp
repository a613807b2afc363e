// See values.hpp.
#include "values.hpp"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace atoll_node {
namespace {

constexpr std::int64_t kMaxSafeInteger = (std::int64_t{1} << 53) - 1;
constexpr int kMaxDepth = 64;  // the broker stops at 16

bool ends_with_ns(std::string_view name) { return name.size() > 3 && name.substr(name.size() - 3) == "_ns"; }

Napi::Value to_value(Napi::Env env, const nlohmann::json& json, bool always_bigint, int depth) {
  if (depth > kMaxDepth) throw Napi::RangeError::New(env, "JSON nested too deeply");
  switch (json.type()) {
    case nlohmann::json::value_t::null: return env.Null();
    case nlohmann::json::value_t::boolean: return Napi::Boolean::New(env, json.get<bool>());
    case nlohmann::json::value_t::string: return Napi::String::New(env, json.get_ref<const std::string&>());
    case nlohmann::json::value_t::number_float: return Napi::Number::New(env, json.get<double>());
    case nlohmann::json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (always_bigint || number > static_cast<std::uint64_t>(kMaxSafeInteger)) return Napi::BigInt::New(env, number);
      return Napi::Number::New(env, static_cast<double>(number));
    }
    case nlohmann::json::value_t::number_integer: {
      const auto number = json.get<std::int64_t>();
      if (always_bigint || number > kMaxSafeInteger || number < -kMaxSafeInteger) return Napi::BigInt::New(env, number);
      return Napi::Number::New(env, static_cast<double>(number));
    }
    case nlohmann::json::value_t::array: {
      Napi::Array array = Napi::Array::New(env, json.size());
      for (std::uint32_t i = 0; i < json.size(); ++i) array.Set(i, to_value(env, json[i], always_bigint, depth + 1));
      return array;
    }
    case nlohmann::json::value_t::object: {
      Napi::Object object = Napi::Object::New(env);
      for (const auto& [name, member] : json.items()) {
        object.Set(name, to_value(env, member, ends_with_ns(name), depth + 1));
      }
      return object;
    }
    case nlohmann::json::value_t::binary:
    case nlohmann::json::value_t::discarded: break;
  }
  return env.Undefined();
}

}  // namespace

Napi::Object error_object(Napi::Env env, const atoll_error& error) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("code", Napi::Number::New(env, error.code));
  object.Set("message", Napi::String::New(env, error.message));
  object.Set("segment", Napi::String::New(env, error.segment));
  object.Set("fix", Napi::String::New(env, error.fix));
  object.Set("detail", error.detail > static_cast<std::uint64_t>(kMaxSafeInteger)
                           ? Napi::Value(Napi::BigInt::New(env, error.detail))
                           : Napi::Value(Napi::Number::New(env, static_cast<double>(error.detail))));
  return object;
}

Napi::Value parse_json(Napi::Env env, std::string_view text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded()) throw Napi::Error::New(env, "the text is not JSON");
  return to_value(env, json, false, 0);
}

std::int64_t nanoseconds(double milliseconds) {
  if (!(milliseconds >= 0)) return -1;
  const double ns = std::ceil(milliseconds * 1e6);
  return ns >= static_cast<double>(std::numeric_limits<std::int64_t>::max()) ? -1 : static_cast<std::int64_t>(ns);
}

std::string string_option(const Napi::Object& options, const char* name) {
  const Napi::Value value = options.Get(name);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

double number_option(const Napi::Object& options, const char* name, double fallback) {
  const Napi::Value value = options.Get(name);
  return value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : fallback;
}

std::uint64_t unsigned_option(const Napi::Object& options, const char* name) {
  std::uint64_t number = 0;
  read_unsigned(options.Env(), options.Get(name), &number);
  return number;
}

bool read_unsigned(napi_env env, napi_value value, std::uint64_t* out) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) == napi_ok) {
    if (!(number >= 0) || number > static_cast<double>(kMaxSafeInteger) || number != std::floor(number)) return false;
    *out = static_cast<std::uint64_t>(number);
    return true;
  }
  bool lossless = false;
  return napi_get_value_bigint_uint64(env, value, out, &lossless) == napi_ok && lossless;
}

bool read_bytes(napi_env env, napi_value value, const void** data, std::size_t* length) {
  napi_typedarray_type type;
  std::size_t elements = 0;
  void* memory = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &elements, &memory, nullptr, nullptr) == napi_ok) {
    switch (type) {
      case napi_int8_array:
      case napi_uint8_array:
      case napi_uint8_clamped_array: *length = elements; break;
      case napi_int16_array:
      case napi_uint16_array: *length = elements * 2; break;
      case napi_int32_array:
      case napi_uint32_array:
      case napi_float32_array: *length = elements * 4; break;
      case napi_float64_array:
      case napi_bigint64_array:
      case napi_biguint64_array: *length = elements * 8; break;
      default: return false;
    }
    *data = memory;
    return true;
  }
  if (napi_get_arraybuffer_info(env, value, &memory, length) == napi_ok ||
      napi_get_dataview_info(env, value, length, &memory, nullptr, nullptr) == napi_ok) {
    *data = memory;
    return true;
  }
  return false;
}

}  // namespace atoll_node
