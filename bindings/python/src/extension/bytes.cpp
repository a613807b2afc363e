// BytesCore: what atoll.Bytes is made of: a mapped piece of shared memory, also as one content (put, get).
//
// It lends its memory through the buffer protocol: read-only in mode "r", writable in "r+" (shared) and
// "c" (private to the handle). While a memoryview or array over it lives, close() is refused.
#include <algorithm>

#include "handle.hpp"

namespace atoll_python {

namespace {

extern PyTypeObject bytes_type;

struct BytesObject {
  PyObject_HEAD
  atoll_bytes* handle;
  Gate gate;
  std::uint32_t mode;  // atoll_map_mode
  Py_ssize_t exports;
};

BytesObject* cast(PyObject* self) { return reinterpret_cast<BytesObject*>(self); }

std::int64_t next_slice() { return kLongSlice; }

// ---- The mapping -----------------------------------------------------------------------------------

int bytes_get_buffer(PyObject* self, Py_buffer* out, int flags) {
  BytesObject* bytes = cast(self);
  out->obj = nullptr;
  if (bytes->gate.busy && bytes->gate.open && bytes->gate.generation == forks) {
    // Looking at the memory while another thread waits in get() does no harm.
  } else if (!enter(self, bytes->gate)) {
    return -1;
  }
  const bool read_only = bytes->mode == ATOLL_MAP_READ;
  static char nothing[1];
  void* data = atoll_bytes_data(bytes->handle);
  if (PyBuffer_FillInfo(out, self, data == nullptr ? nothing : data, static_cast<Py_ssize_t>(atoll_bytes_size(bytes->handle)),
                        read_only ? 1 : 0, flags) != 0)
    return -1;
  // What this view counts for: a view made before a fork does not count for the child's handle.
  out->internal = reinterpret_cast<void*>(static_cast<std::uintptr_t>(bytes->gate.generation));
  ++bytes->exports;
  return 0;
}

void bytes_release_buffer(PyObject* self, Py_buffer* view) {
  BytesObject* bytes = cast(self);
  if (reinterpret_cast<std::uintptr_t>(view->internal) == bytes->gate.generation) --bytes->exports;
}

PyObject* bytes_data(PyObject* self, void*) { return PyMemoryView_FromObject(self); }

Py_ssize_t bytes_length(PyObject* self) {
  BytesObject* bytes = cast(self);
  return enter(self, bytes->gate) ? static_cast<Py_ssize_t>(atoll_bytes_size(bytes->handle)) : -1;
}

// ---- read_at, write_at, flush ------------------------------------------------------------------------

PyObject* bytes_read_at(PyObject* self, PyObject* arguments) {
  unsigned long long offset = 0, length = 0;
  BytesObject* bytes = cast(self);
  PyObject *offset_object = nullptr, *length_object = nullptr;
  if (!PyArg_ParseTuple(arguments, "OO:read_at", &offset_object, &length_object) || !unsigned_from(offset_object, "offset", offset) ||
      !unsigned_from(length_object, "length", length) || !enter(self, bytes->gate))
    return nullptr;
  if (length > atoll_bytes_size(bytes->handle)) {
    set_error(ATOLL_INVALID_ARGUMENT, "read_at: length is not inside the content", "`size` tells how long it is");
    return nullptr;
  }
  PyObject* copy = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(length));
  if (copy == nullptr) return nullptr;
  char* into = PyBytes_AS_STRING(copy);
  Error error;
  atoll_status status = ATOLL_OK;
  {
    const Busy busy(bytes->gate);
    without_gil([&] { status = atoll_bytes_read_at(bytes->handle, offset, into, length, &error); });
  }
  if (status == ATOLL_OK) return copy;
  Py_DECREF(copy);
  return failed(status, error);
}

PyObject* bytes_write_at(PyObject* self, PyObject* arguments) {
  unsigned long long offset = 0;
  PyObject *offset_object = nullptr, *data = nullptr;
  BytesObject* bytes = cast(self);
  if (!PyArg_ParseTuple(arguments, "OO:write_at", &offset_object, &data) || !unsigned_from(offset_object, "offset", offset)) return nullptr;
  Payload payload;
  if (!payload.take(data) || !enter(self, bytes->gate)) return nullptr;
  Error error;
  atoll_status status = ATOLL_OK;
  {
    const Busy busy(bytes->gate);
    without_gil([&] { status = atoll_bytes_write_at(bytes->handle, offset, payload.data(), payload.size(), &error); });
  }
  if (status != ATOLL_OK) return failed(status, error);
  Py_RETURN_NONE;
}

PyObject* bytes_flush(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"offset", "length", "wait", nullptr};
  unsigned long long offset = 0, length = 0;
  PyObject *offset_object = nullptr, *length_object = nullptr;
  int wait = 1;
  BytesObject* bytes = cast(self);
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|OO$p:flush", const_cast<char**>(names), &offset_object, &length_object, &wait) ||
      !unsigned_from(offset_object, "offset", offset) || !unsigned_from(length_object, "length", length) || !enter(self, bytes->gate))
    return nullptr;
  Error error;
  atoll_status status = ATOLL_OK;
  {
    const Busy busy(bytes->gate);
    without_gil([&] { status = atoll_bytes_flush(bytes->handle, offset, length, wait, &error); });
  }
  if (status != ATOLL_OK) return failed(status, error);
  Py_RETURN_NONE;
}

// ---- put and get -------------------------------------------------------------------------------------

PyObject* bytes_put(PyObject* self, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords) {
  BytesObject* bytes = cast(self);
  PyObject* data = nullptr;
  std::int64_t timeout_ns = -1;
  if (!fast_arguments("put", "data", arguments, given, keywords, data, timeout_ns)) return nullptr;
  Payload payload;
  if (!payload.take(data) || !enter(self, bytes->gate)) return nullptr;
  Error error;
  const atoll_status status = wait_for(
      bytes->gate, timeout_ns,
      [&](std::int64_t slice) { return atoll_bytes_put(bytes->handle, payload.data(), payload.size(), slice, &error); },
      next_slice, payload.size() >= kLargeCopy);
  if (status != ATOLL_OK) return failed(status, error);
  Py_RETURN_NONE;
}

// Waits for a put above `after` and copies it. `timed_out_is_none`: for event loops.
PyObject* get(PyObject* self, unsigned long long after, std::int64_t timeout_ns, bool timed_out_is_none) {
  BytesObject* bytes = cast(self);
  if (!enter(self, bytes->gate)) return nullptr;
  atoll_bytes_info info{};
  info.struct_size = sizeof(info);
  Error error;
  atoll_status status = atoll_bytes_get_info(bytes->handle, &info, &error);
  if (status != ATOLL_OK) return failed(status, error);
  const Until until(timeout_ns);
  std::uint64_t room = std::min(info.length, info.size);
  for (;;) {
    PyObject* content = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(room));
    if (content == nullptr) return nullptr;
    char* into = PyBytes_AS_STRING(content);
    std::uint64_t length = 0, version = 0;
    status = wait_for(
        bytes->gate, until.left(),
        [&](std::int64_t slice) { return atoll_bytes_get(bytes->handle, after, slice, into, room, &length, &version, &error); },
        next_slice, room >= kLargeCopy);
    if (status == ATOLL_OK) {
      if (length < room && _PyBytes_Resize(&content, static_cast<Py_ssize_t>(length)) != 0) return nullptr;
      return Py_BuildValue("(NK)", content, static_cast<unsigned long long>(version));
    }
    Py_DECREF(content);
    // The content became longer than what there was room for; the detail says how long it is.
    if (status != ATOLL_TOO_LARGE || error.detail <= room || error.detail > info.size) break;
    room = error.detail;
  }
  if (status == ATOLL_TIMED_OUT && timed_out_is_none) Py_RETURN_NONE;
  return failed(status, error);
}

PyObject* bytes_get_versioned(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"after", "timeout", nullptr};
  unsigned long long after = 0;
  PyObject *after_object = nullptr, *timeout = nullptr;
  std::int64_t timeout_ns = -1;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|OO:get_versioned", const_cast<char**>(names), &after_object, &timeout) ||
      !unsigned_from(after_object, "after", after) || !timeout_from(timeout, timeout_ns))
    return nullptr;
  return get(self, after, timeout_ns, false);
}

PyObject* bytes_poll(PyObject* self, PyObject* after_object) {
  unsigned long long after = 0;
  if (!unsigned_from(after_object, "after", after)) return nullptr;
  return get(self, after, 0, true);
}

PyObject* bytes_info(PyObject* self, PyObject*) {
  BytesObject* bytes = cast(self);
  if (!enter(self, bytes->gate)) return nullptr;
  atoll_bytes_info info{};
  info.struct_size = sizeof(info);
  Error error;
  const atoll_status status = atoll_bytes_get_info(bytes->handle, &info, &error);
  if (status != ATOLL_OK) return failed(status, error);
  const auto wide = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  return Py_BuildValue("{s:K,s:K,s:K,s:K}", "size", wide(info.size), "put_size", wide(info.put_size), "length", wide(info.length),
                       "version", wide(info.version));
}

// ---- Open and close -------------------------------------------------------------------------------------

void shut(BytesObject* bytes) {
  if (!bytes->gate.open) return;
  bytes->gate.open = false;
  atoll_bytes* handle = bytes->handle;
  bytes->handle = nullptr;
  const Busy busy(bytes->gate);
  without_gil([&] { atoll_bytes_close(handle); });
}

PyObject* bytes_close(PyObject* self, PyObject*) {
  if (!may_close<BytesObject>(self, "memoryviews or arrays over this segment are still in use", "release or delete them first"))
    return none_or_error();
  shut(cast(self));
  Py_RETURN_NONE;
}

PyObject* bytes_open(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"client", "name", "mode", "wait", nullptr};
  PyObject *core = nullptr, *name_object = nullptr, *wait = nullptr;
  const char* name = nullptr;
  unsigned int mode = 0;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OO|$IO:_open", const_cast<char**>(names), &core, &name_object, &mode, &wait) ||
      !text_from(name_object, "name", ATOLL_INVALID_NAME, name))
    return nullptr;
  BytesObject* bytes = cast(self);
  if (bytes->gate.open && bytes->gate.generation == forks) {
    set_error(ATOLL_INVALID_ARGUMENT, "this handle is open already");
    return nullptr;
  }
  std::int64_t wait_ns = 0;
  if (wait != nullptr && wait != Py_None && !timeout_from(wait, wait_ns, "wait")) return nullptr;
  const std::shared_ptr<atoll_client> client = client_of(core);
  if (client == nullptr) return nullptr;
  atoll_bytes_options options = ATOLL_BYTES_OPTIONS_INIT;
  options.mode = mode;
  const Until until(wait_ns);  // over all tries: a signal begins another one
  atoll_bytes* handle = nullptr;
  if (!control([&](Error* error) { return options.wait_ns = until.left(), atoll_client_open_bytes(client.get(), name, &options, &handle, error); })) return nullptr;
  abandon(bytes, shut);
  bytes->handle = handle;
  bytes->mode = mode;
  bytes->gate = {forks, true, false};
  Py_RETURN_NONE;
}

void bytes_dealloc(PyObject* self) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  shut(cast(self));  // no view refers to it any more
  PyErr_Restore(type, value, traceback);
  Py_TYPE(self)->tp_free(self);
}


PyGetSetDef bytes_properties[] = {
    {"data", bytes_data, nullptr, "A memoryview of the content: read-only in mode \"r\". Not coordinated with other processes.", nullptr},
    {"closed", handle_closed<BytesObject>, nullptr, "True once close() was called.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef bytes_methods[] = {
    {"read_at", bytes_read_at, METH_VARARGS, "read_at(offset, length) -> bytes\n\nA copy; not coordinated with other processes. InvalidArgument if it is not all inside the content."},
    {"write_at", bytes_write_at, METH_VARARGS, "write_at(offset, data)\n\nCopies a bytes-like object into the content. NotPermitted in mode \"r\"; private in mode \"c\"."},
    {"flush", method(bytes_flush), METH_VARARGS | METH_KEYWORDS,
     "flush(offset=0, length=0, *, wait=True)\n\nWrites a range (length 0: all) back to the disk, for backing \"file\"."},
    {"put", method(bytes_put), METH_FASTCALL | METH_KEYWORDS,
     "put(data, timeout=None)\n\nThese bytes are the content now, as one, for everybody who gets. timeout in seconds.\n"
     "Raises TooLarge (longer than put_size), NotPermitted (mode \"r\" or \"c\"), TimedOut."},
    {"get_versioned", method(bytes_get_versioned), METH_VARARGS | METH_KEYWORDS,
     "get_versioned(after=0, timeout=None) -> (bytes, version)\n\nA copy of the content last put, never torn, once its version is above `after` (0: any put).\n"
     "timeout in seconds: None waits without limit, 0 tries once. Raises TimedOut, Removed."},
    {"fileno", handle_fileno<BytesObject, atoll_bytes_event_fd>, METH_NOARGS, "fileno() -> int\n\nA descriptor for event loops, readable when a get that raised TimedOut may succeed."},
    {"close", bytes_close, METH_NOARGS, "Unmaps. ViewsLive (a BufferError) while a memoryview or array over it lives. Closing twice is allowed."},
    {"_poll", bytes_poll, METH_O, nullptr},
    {"_info", bytes_info, METH_NOARGS, nullptr},
    {"_open", method(bytes_open), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"__enter__", handle_enter<BytesObject>, METH_NOARGS, nullptr},
    {"__exit__", handle_exit<bytes_close>, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyBufferProcs bytes_buffer = {bytes_get_buffer, bytes_release_buffer};

PySequenceMethods bytes_sequence = [] {
  PySequenceMethods methods{};
  methods.sq_length = bytes_length;
  return methods;
}();

PyTypeObject bytes_type = [] {
  PyTypeObject type = new_type("atoll._core.BytesCore", sizeof(BytesObject));
  type.tp_dealloc = bytes_dealloc;
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE;
  type.tp_methods = bytes_methods;
  type.tp_getset = bytes_properties;
  type.tp_as_buffer = &bytes_buffer;
  type.tp_as_sequence = &bytes_sequence;
  type.tp_new = PyType_GenericNew;
  return type;
}();

}  // namespace

bool ready_bytes(PyObject* module) { return add_type(module, bytes_type); }

}  // namespace atoll_python
