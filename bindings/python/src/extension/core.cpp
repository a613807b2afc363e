// The common ground of the extension module: errors, arguments, times, forks, buffers. See core.hpp.
#include "core.hpp"

#include <pthread.h>
#include <time.h>

#include <cmath>
#include <string>

namespace atoll_python {

std::uint32_t forks = 0;

namespace {

PyObject* by_code = nullptr;  // atoll.errors.BY_CODE
PyObject* base_error = nullptr;

PyObject* error_class(int status) {
  PyObject* key = PyLong_FromLong(status);
  if (key == nullptr) return nullptr;
  PyObject* found = PyDict_GetItemWithError(by_code, key);  // borrowed
  Py_DECREF(key);
  return found != nullptr || PyErr_Occurred() ? found : base_error;
}

void set_error(atoll_status status, const char* message, const char* segment, const char* fix, std::uint64_t detail) {
  PyObject* type = error_class(static_cast<int>(status));
  if (type == nullptr) return;
  if (*message == '\0') message = atoll_status_name(static_cast<int>(status));
  const auto text = [](const char* utf8) {
    return PyUnicode_DecodeUTF8(utf8, static_cast<Py_ssize_t>(std::strlen(utf8)), "replace");
  };
  PyObject* exception = or_stay([&] {
    return PyObject_CallFunction(type, "NNNK", text(message), text(segment), text(fix), static_cast<unsigned long long>(detail));
  });
  if (exception == nullptr) return;
  PyErr_SetObject(type, exception);
  Py_DECREF(exception);
}

}  // namespace

bool load_errors() {
  PyObject* errors = PyImport_ImportModule("atoll.errors");
  if (errors == nullptr) return false;
  by_code = PyObject_GetAttrString(errors, "BY_CODE");
  base_error = PyObject_GetAttrString(errors, "AtollError");
  Py_DECREF(errors);
  if (by_code == nullptr || base_error == nullptr) return false;
  pthread_atfork(nullptr, nullptr, [] { ++forks; });
  return true;
}

void set_error(atoll_status status, const atoll_error& error) {
  set_error(status, error.message, error.segment, error.fix, error.detail);
}
void set_error(atoll_status status, const char* message, const char* fix) { set_error(status, message, "", fix, 0); }

bool timeout_from(PyObject* seconds, std::int64_t& nanoseconds, const char* name) {
  if (seconds == nullptr || seconds == Py_None) {
    nanoseconds = -1;
    return true;
  }
  const double value = PyFloat_AsDouble(seconds);
  if (value == -1.0 && PyErr_Occurred()) {
    if (PyErr_ExceptionMatches(PyExc_TypeError))
      PyErr_Format(PyExc_TypeError, "%s must be a number of seconds or None, not %.100s", name, Py_TYPE(seconds)->tp_name);
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return false;
    PyErr_Clear();  // an int that no double holds
    set_error(ATOLL_INVALID_ARGUMENT, (std::string(name) + " must be fewer seconds").c_str());
    return false;
  }
  if (std::isnan(value) || value < 0) {
    set_error(ATOLL_INVALID_ARGUMENT, (std::string(name) + " must be a number of seconds, 0 or more, or None").c_str());
    return false;
  }
  constexpr double kMost = 9.2e18;
  nanoseconds = value * 1e9 >= kMost ? -1 : static_cast<std::int64_t>(value * 1e9);
  if (nanoseconds == 0 && value > 0) nanoseconds = 1;
  return true;
}

bool unsigned_from(PyObject* object, const char* name, unsigned long long& value, unsigned long long most) {
  if (object == nullptr) return true;
  if (!PyIndex_Check(object)) {
    PyErr_Format(PyExc_TypeError, "%s must be a whole number, not %.100s", name, Py_TYPE(object)->tp_name);
    return false;
  }
  PyObject* const index = PyNumber_Index(object);
  if (index == nullptr) return false;
  const unsigned long long number = PyLong_AsUnsignedLongLong(index);
  Py_DECREF(index);
  if (PyErr_Occurred() == nullptr && number <= most) {
    value = number;
    return true;
  }
  PyErr_Clear();
  set_error(ATOLL_INVALID_ARGUMENT, (std::string(name) + " must be from 0 to " + std::to_string(most)).c_str());
  return false;
}

bool text_from(PyObject* object, const char* name, atoll_status wrong, const char*& text) {
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "%s must be a str, not %.100s", name, Py_TYPE(object)->tp_name);
    return false;
  }
  Py_ssize_t size = 0;
  const char* const utf8 = PyUnicode_AsUTF8AndSize(object, &size);
  if (utf8 == nullptr && !PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) return false;
  if (utf8 != nullptr && std::strlen(utf8) == static_cast<std::size_t>(size)) {
    text = utf8;
    return true;
  }
  PyErr_Clear();
  set_error(wrong, (std::string(name) + (utf8 == nullptr ? " is no valid Unicode text" : " must not hold a NUL character")).c_str());
  return false;
}

namespace {
std::int64_t now_ns() noexcept {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}
}  // namespace

Until::Until(std::int64_t timeout_ns) noexcept : end_(-1) {
  if (timeout_ns < 0) return;
  const std::int64_t now = now_ns();
  if (timeout_ns < std::numeric_limits<std::int64_t>::max() - now) end_ = now + timeout_ns;
}

std::int64_t Until::left() const noexcept {
  if (end_ < 0) return -1;
  const std::int64_t left = end_ - now_ns();
  return left > 0 ? left : 0;
}

bool enter_slowly(PyObject* self, Gate& gate) {
  const bool inherited = gate.open && gate.generation != forks;
  if (inherited && gate.opening != forks) {
    gate.busy = false;  // whoever was inside is a thread of the parent
    gate.opening = forks;
    PyObject* done = or_stay([&] { return PyObject_CallMethod(self, "_reopen", nullptr); });
    gate.opening = 0;
    if (done == nullptr) return false;
    Py_DECREF(done);
    if (gate.open && gate.generation == forks && !gate.busy) return true;
  }
  if (gate.busy || (inherited && gate.opening == forks))
    set_error(ATOLL_IN_USE, "another thread is using this handle", "give each thread a handle of its own");
  else
    set_error(ATOLL_CLOSED, "this handle was closed", "open a new one");
  return false;
}

bool Payload::take_other(PyObject* object) {
  if (PyUnicode_Check(object)) {
    Py_ssize_t size = 0;
    data_ = PyUnicode_AsUTF8AndSize(object, &size);
    if (data_ == nullptr) return false;
    size_ = static_cast<std::uint64_t>(size);
    content_ = ATOLL_CONTENT_TEXT;
    Py_INCREF(object);
    object_ = object;
    return true;
  }
  if (!PyObject_CheckBuffer(object)) {
    PyErr_Format(PyExc_TypeError, "a bytes-like object or str is needed, not %.100s; see also send_json and send_array",
                 Py_TYPE(object)->tp_name);
    return false;
  }
  if (or_stay([&] { return PyObject_GetBuffer(object, &buffer_, PyBUF_SIMPLE); }) != 0) {
    buffer_.obj = nullptr;
    return false;
  }
  data_ = buffer_.buf;
  size_ = static_cast<std::uint64_t>(buffer_.len);
  return true;
}

bool add_type(PyObject* module, PyTypeObject& type) {
  if (PyType_Ready(&type) != 0) return false;
  const char* dot = std::strrchr(type.tp_name, '.');
  Py_INCREF(&type);
  if (PyModule_AddObject(module, dot + 1, reinterpret_cast<PyObject*>(&type)) != 0) {
    Py_DECREF(&type);
    return false;
  }
  return true;
}

bool more_arguments(const char* function, const char* first_name, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords,
                    PyObject*& first, std::int64_t& timeout_ns) {
  const Py_ssize_t firsts = first_name == nullptr ? 0 : 1;
  first = firsts == 1 && given > 0 ? arguments[0] : nullptr;
  if (given > firsts + 1) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments, %zd were given", function, firsts + 1, given);
    return false;
  }
  PyObject* timeout = given > firsts ? arguments[firsts] : nullptr;
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* keyword = PyTuple_GET_ITEM(keywords, i);
    PyObject** target = nullptr;
    if (PyUnicode_CompareWithASCIIString(keyword, "timeout") == 0)
      target = &timeout;
    else if (firsts == 1 && PyUnicode_CompareWithASCIIString(keyword, first_name) == 0)
      target = &first;
    if (target == nullptr || *target != nullptr) {
      PyErr_Format(PyExc_TypeError, target == nullptr ? "%s() has no argument %R" : "%s() got the argument %R twice", function, keyword);
      return false;
    }
    *target = arguments[given + i];
  }
  if (firsts == 1 && first == nullptr) {
    PyErr_Format(PyExc_TypeError, "%s() lacks the argument '%s'", function, first_name);
    return false;
  }
  return timeout_from(timeout, timeout_ns);
}

}  // namespace atoll_python
