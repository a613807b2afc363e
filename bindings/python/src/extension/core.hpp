// What every part of the extension module needs: Python's C API, Atoll's, errors, arguments, giving
// the GIL up, and the rule who may use a handle now.
//
// All types are written against the plain C API, one in each file: client, reader, iterator, message,
// producer, loan, bytes; module.cpp puts them together. All functions here are called with the GIL held.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>

#include "atoll/atoll.h"

namespace atoll_python {

// ---- Errors ----------------------------------------------------------------------------------------

// An atoll_error without clearing its 1 KiB: the library fills it in only when something is wrong.
struct Error : atoll_error {
  Error() noexcept {
    struct_size = sizeof(atoll_error);
    code = 0;
    detail = 0;
    message[0] = segment[0] = fix[0] = '\0';
  }
};

// Loads the classes of atoll.errors. False with an exception set if that fails.
bool load_errors();
// Sets the Python exception that belongs to `status`; the texts come from `error`.
void set_error(atoll_status status, const atoll_error& error);
// The same with a text of ours.
void set_error(atoll_status status, const char* message, const char* fix = "");

inline constexpr auto kPythonError = static_cast<atoll_status>(0x7ffffffe);  // an exception is set already
// Null, with the exception set.
inline PyObject* failed(atoll_status status, const Error& error) {
  if (status != kPythonError) set_error(status, error);
  return nullptr;
}

// ---- Arguments -------------------------------------------------------------------------------------
// False with an exception set that names the argument: TypeError for what is of another type.

// Seconds (float, int) to nanoseconds; None and infinity: -1, no limit. InvalidArgument for what is
// negative or not a number.
bool timeout_from(PyObject* seconds, std::int64_t& nanoseconds, const char* name = "timeout");

// An int from 0 to `most`; null leaves `value` as it is. InvalidArgument for what is out of range.
bool unsigned_from(PyObject* object, const char* name, unsigned long long& value,
                   unsigned long long most = std::numeric_limits<unsigned long long>::max());

// A str as UTF-8, which lives as long as it. `wrong` for one with a NUL, which C would take for its end, or that is
// no Unicode text.
bool text_from(PyObject* object, const char* name, atoll_status wrong, const char*& text);

// The same, where None leaves `text` as it is.
inline bool text_or_none_from(PyObject* object, const char* name, atoll_status wrong, const char*& text) {
  return object == Py_None || text_from(object, name, wrong, text);
}

// When a wait has to end. Reads the clock only when made and asked.
class Until {
 public:
  explicit Until(std::int64_t timeout_ns) noexcept;
  // Nanoseconds left: 0 when the time is over, -1 without limit.
  [[nodiscard]] std::int64_t left() const noexcept;

 private:
  std::int64_t end_;  // -1: never
};

// ---- The GIL ---------------------------------------------------------------------------------------

// Runs a call that may give the GIL up and take it back. When the interpreter ends, CPython (before 3.14) ends a
// daemon thread that wants it back by unwinding its stack, also through C++: destructors would touch Python
// objects beside the thread that takes them down, and a frame that throws nothing would end the process. Such a
// thread stays here instead, as in CPython 3.14, until the process is gone. For calls that run Python code while
// something with a destructor lives.
template <class Call>
decltype(auto) or_stay(Call call) {
  try {
    return call();
  } catch (...) {
    for (;;) pause();
  }
}

// Runs `call` without the GIL.
template <class Call>
void without_gil(Call call) {
  PyThreadState* const state = PyEval_SaveThread();
  call();
  or_stay([&] { PyEval_RestoreThread(state); });
}

// ---- Who may use a handle --------------------------------------------------------------------------

// Counts the forks that led to this process. A handle opened before the last one is the parent's.
extern std::uint32_t forks;

// A handle is used by one thread at a time. The GIL sees to that except where a call gives the GIL
// up or runs other Python code; there `busy` is set, and whoever comes meanwhile gets InUse.
struct Gate {
  std::uint32_t generation;  // `forks` when it was opened
  bool open;                 // it has a C handle
  bool busy;
  std::uint32_t opening = 0;  // `forks` while a thread of a forked child opens it anew
};

// The slow half of enter(): opens the handle anew in a forked child (its Python method `_reopen`),
// or says why not.
bool enter_slowly(PyObject* self, Gate& gate);

// True if `self` may be used now; else an exception is set.
inline bool enter(PyObject* self, Gate& gate) {
  if (gate.open && !gate.busy && gate.generation == forks) [[likely]]
    return true;
  return enter_slowly(self, gate);
}

// Keeps others out while the GIL is given up.
class Busy {
 public:
  explicit Busy(Gate& gate) noexcept : gate_(gate) { gate_.busy = true; }
  ~Busy() { gate_.busy = false; }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  Gate& gate_;
};

inline constexpr std::int64_t kLongSlice = 1'000'000'000;
inline constexpr std::int64_t kShortSlice = 5'000'000;

// Runs `attempt(timeout_ns)`: once at once with the GIL held, then, if it has to wait, without the
// GIL (also at once if it is `long_work`). A wait is cut into slices, so that Ctrl-C is heard even
// if the signal came just before the sleep, and so that `between()`, run after each, can do what
// other threads left to be done. It says how long the next slice may be.
template <class Attempt, class Between>
atoll_status wait_for(Gate& gate, std::int64_t timeout_ns, Attempt attempt, Between between, bool long_work = false) {
  atoll_status status = ATOLL_TIMED_OUT;
  if (!long_work) [[likely]] {
    status = attempt(std::int64_t{0});
    if (status != ATOLL_TIMED_OUT && status != ATOLL_INTERRUPTED) [[likely]]
      return status;
    if (timeout_ns == 0 && status == ATOLL_TIMED_OUT) return status;
  }
  const Until until(timeout_ns);
  const Busy busy(gate);
  for (;;) {
    const std::int64_t left = until.left();
    std::int64_t slice = between();
    const bool last = left >= 0 && left <= slice;
    if (last) slice = left;
    without_gil([&] { status = attempt(slice); });
    if (status != ATOLL_TIMED_OUT && status != ATOLL_INTERRUPTED) break;
    if (or_stay(PyErr_CheckSignals) != 0) {
      status = kPythonError;
      break;
    }
    if (status == ATOLL_TIMED_OUT && last) break;
  }
  between();
  return status;
}

// ---- Buffers ---------------------------------------------------------------------------------------

// A bytes-like object or a str (its UTF-8) for the time of a call. Holds a reference.
class Payload {
 public:
  Payload() noexcept = default;
  ~Payload() { drop(); }
  Payload(const Payload&) = delete;
  Payload& operator=(const Payload&) = delete;

  // False with TypeError set if `object` is neither.
  bool take(PyObject* object) {
    if (PyBytes_CheckExact(object)) [[likely]] {
      data_ = PyBytes_AS_STRING(object);
      size_ = static_cast<std::uint64_t>(PyBytes_GET_SIZE(object));
      Py_INCREF(object);
      object_ = object;
      return true;
    }
    return take_other(object);
  }
  [[nodiscard]] const void* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint32_t content() const noexcept { return content_; }

 private:
  bool take_other(PyObject* object);
  void drop() noexcept {
    or_stay([this] {
      Py_XDECREF(object_);
      if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
    });
  }

  const void* data_ = nullptr;
  std::uint64_t size_ = 0;
  PyObject* object_ = nullptr;
  std::uint32_t content_ = ATOLL_CONTENT_BYTES;
  Py_buffer buffer_{};
};

inline constexpr std::uint64_t kLargeCopy = 1u << 16;  // bytes; longer copies give the GIL up

// ---- The parts of the module -------------------------------------------------------------------------

// The C client of a ClientCore (client.cpp), kept alive by the copy. Null with an exception set.
std::shared_ptr<atoll_client> client_of(PyObject* core);

bool ready_client(PyObject* module);
bool ready_message(PyObject* module);
bool ready_iterator(PyObject* module);
bool ready_reader(PyObject* module);
bool ready_loan(PyObject* module);
bool ready_producer(PyObject* module);
bool ready_bytes(PyObject* module);

// Runs a control call without the GIL until it is over or Ctrl-C asks to stop; false with the
// exception set if it fails. A signal whose handler returns lets it be asked again, within `limit_ns` in all (-1: no limit).
template <class Call>
bool control(Call call, std::int64_t limit_ns = -1) {
  for (const Until until(limit_ns);;) {
    Error error;
    atoll_status status = ATOLL_OK;
    without_gil([&] { status = call(&error); });
    if (status == ATOLL_OK) return true;
    if (status == ATOLL_INTERRUPTED) {
      if (or_stay(PyErr_CheckSignals) != 0) return false;
      if (until.left() != 0) continue;
      set_error(ATOLL_TIMED_OUT, "the broker did not answer in time");
      return false;
    }
    set_error(status, error);
    return false;
  }
}

// A type with everything but name and size of its objects still to be filled in.
inline PyTypeObject new_type(const char* name, std::size_t size) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
  PyTypeObject type = {PyVarObject_HEAD_INIT(nullptr, 0)};
#pragma GCC diagnostic pop
  type.tp_name = name;
  type.tp_basicsize = static_cast<Py_ssize_t>(size);
  return type;
}

// Adds a type to the module under the last part of its name.
bool add_type(PyObject* module, PyTypeObject& type);

// METH_FASTCALL functions have another signature than PyCFunction; this is how Python wants them cast.
template <class Function>
PyCFunction method(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// Reads (first, timeout=None) of a METH_FASTCALL | METH_KEYWORDS call, or (timeout=None) if `first_name`
// is null. Both may come by position or by name. Shared by all calls that may wait.
bool more_arguments(const char* function, const char* first_name, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords,
                    PyObject*& first, std::int64_t& timeout_ns);
inline bool fast_arguments(const char* function, const char* first_name, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords,
                           PyObject*& first, std::int64_t& timeout_ns) {
  if (given != (first_name == nullptr ? 0 : 1) || keywords != nullptr) [[unlikely]]
    return more_arguments(function, first_name, arguments, given, keywords, first, timeout_ns);
  if (first_name != nullptr) first = arguments[0];
  timeout_ns = -1;
  return true;
}

}  // namespace atoll_python
