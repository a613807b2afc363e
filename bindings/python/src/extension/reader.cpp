// ReaderCore: what atoll.Consumer and atoll.Observer are made of. Receives messages (message.hpp); a loop over
// it is an object of its own (iterator.cpp).
//
// Opened by _open(), which the Python classes call; also again in a forked child. Waits give the GIL
// up; meanwhile messages released or acknowledged by other threads are noted in `later` and dealt
// with between two slices of the wait.
#include <algorithm>

#include "handle.hpp"
#include "message.hpp"

namespace atoll_python {

atoll_status reader_tell(ReaderObject* reader, Later::Op op, const atoll_view& view, Error& error) {
  if (reader->gate.busy) {
    try {
      if (reader->later == nullptr) reader->later = new std::vector<Later>;
      reader->later->push_back({op, view});
    } catch (const std::bad_alloc&) {
      return ATOLL_NO_SPACE;
    }
    return ATOLL_OK;
  }
  switch (op) {
    case Later::Op::release: return atoll_consumer_release(reader->handle, &view, &error);
    case Later::Op::acknowledge: return atoll_consumer_acknowledge(reader->handle, &view, &error);
    case Later::Op::acknowledge_up_to: return atoll_consumer_acknowledge_up_to(reader->handle, &view, &error);
    case Later::Op::reject: return atoll_consumer_reject(reader->handle, &view, &error);
  }
  return ATOLL_INVALID_ARGUMENT;
}

namespace {

extern PyTypeObject reader_type;

constexpr std::size_t kMostAtOnce = 1024;  // records of one receive_many

ReaderObject* cast(PyObject* self) { return reinterpret_cast<ReaderObject*>(self); }

// Does what other threads left. True if there was anything.
bool catch_up(ReaderObject* reader) {
  if (reader->later == nullptr || reader->later->empty()) return false;
  for (const Later& left : *reader->later) {
    Error error;
    switch (left.op) {
      case Later::Op::release: atoll_consumer_release(reader->handle, &left.view, &error); break;
      case Later::Op::acknowledge: atoll_consumer_acknowledge(reader->handle, &left.view, &error); break;
      case Later::Op::acknowledge_up_to: atoll_consumer_acknowledge_up_to(reader->handle, &left.view, &error); break;
      case Later::Op::reject: atoll_consumer_reject(reader->handle, &left.view, &error); break;
    }
  }
  reader->later->clear();
  return true;
}

// Between two slices: while other threads may hold messages the slices are short, and longer the
// longer nothing came from them.
std::int64_t next_slice(ReaderObject* reader) {
  if (catch_up(reader) || reader->slice == 0)
    reader->slice = kShortSlice;
  else
    reader->slice = std::min(reader->slice * 2, kLongSlice / 2);
  return reader->held_count > 0 || reader->manual ? reader->slice : kLongSlice;
}

atoll_status receive_some(ReaderObject* reader, std::int64_t timeout_ns, atoll_view* views, std::size_t most, std::size_t& count,
                          Error& error) {
  reader->slice = 0;
  return wait_for(
      reader->gate, timeout_ns,
      [&](std::int64_t slice) { return atoll_consumer_receive_many(reader->handle, slice, views, most, &count, &error); },
      [&] { return next_slice(reader); });
}

PyObject* reader_receive(PyObject* self, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords) {
  ReaderObject* reader = cast(self);
  PyObject* none = nullptr;
  std::int64_t timeout_ns = -1;
  if (!fast_arguments("receive", nullptr, arguments, given, keywords, none, timeout_ns) || !enter(self, reader->gate)) return nullptr;
  atoll_view view;
  Error error;
  const atoll_status status = reader_receive_one(reader, timeout_ns, view, error);
  return status == ATOLL_OK ? message_new(reader, view) : failed(status, error);
}

// Like receive(timeout=0), but None instead of TimedOut: for event loops.
PyObject* reader_poll(PyObject* self, PyObject*) {
  ReaderObject* reader = cast(self);
  if (!enter(self, reader->gate)) return nullptr;
  atoll_view view;
  Error error;
  const atoll_status status = atoll_consumer_receive(reader->handle, 0, &view, &error);
  if (status == ATOLL_TIMED_OUT || status == ATOLL_INTERRUPTED) Py_RETURN_NONE;
  return status == ATOLL_OK ? message_new(reader, view) : failed(status, error);
}

PyObject* reader_receive_bytes(PyObject* self, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords) {
  ReaderObject* reader = cast(self);
  PyObject* none = nullptr;
  std::int64_t timeout_ns = -1;
  if (!fast_arguments("receive_bytes", nullptr, arguments, given, keywords, none, timeout_ns) || !enter(self, reader->gate)) return nullptr;
  if (reader->manual) {
    set_error(ATOLL_INVALID_ARGUMENT, "receive_bytes: a manual consumer's record must be acknowledged", "use receive() and acknowledge()");
    return nullptr;
  }
  atoll_view view;
  Error error;
  atoll_status status = reader_receive_one(reader, timeout_ns, view, error);
  if (status != ATOLL_OK) return failed(status, error);
  PyObject* copy = PyBytes_FromStringAndSize(static_cast<const char*>(view.data), static_cast<Py_ssize_t>(view.length));
  if (copy == nullptr) return nullptr;
  status = atoll_consumer_release(reader->handle, &view, &error);
  if (status == ATOLL_OK) return copy;
  Py_DECREF(copy);
  return failed(status, error);
}

PyObject* reader_receive_many(PyObject* self, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords) {
  ReaderObject* reader = cast(self);
  PyObject* max = nullptr;
  std::int64_t timeout_ns = -1;
  if (!fast_arguments("receive_many", "max", arguments, given, keywords, max, timeout_ns)) return nullptr;
  unsigned long long most = 0;
  if (!unsigned_from(max, "max", most)) return nullptr;
  if (most < 1) {
    set_error(ATOLL_INVALID_ARGUMENT, "receive_many: max must be at least 1");
    return nullptr;
  }
  if (!enter(self, reader->gate)) return nullptr;
  atoll_view views[kMostAtOnce];
  std::size_t count = 0;
  Error error;
  const atoll_status status =
      receive_some(reader, timeout_ns, views, std::min<std::size_t>(most, kMostAtOnce), count, error);
  if (status != ATOLL_OK) return failed(status, error);
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(count));
  for (std::size_t i = 0; i < count; ++i) {
    PyObject* message = list == nullptr ? nullptr : message_new(reader, views[i]);
    if (message == nullptr) {
      Error ignored;
      if (list == nullptr) reader_tell(reader, Later::Op::release, views[i], ignored);
      Py_CLEAR(list);
      continue;
    }
    PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), message);
  }
  return list;
}

PyObject* reader_iterate(PyObject* self) { return iterator_new(cast(self)); }

PyObject* reader_info(PyObject* self, PyObject*) {
  ReaderObject* reader = cast(self);
  if (!enter(self, reader->gate)) return nullptr;
  Error error;
  atoll_consumer_info info{};
  info.struct_size = sizeof(info);
  const atoll_status status = atoll_consumer_get_info(reader->handle, &info, &error);
  if (status != ATOLL_OK) return failed(status, error);
  return Py_BuildValue("{s:I,s:K,s:K,s:K,s:I,s:O}", "alignment", info.alignment, "received",
                       static_cast<unsigned long long>(info.received), "lost", static_cast<unsigned long long>(info.lost),
                       "outstanding", static_cast<unsigned long long>(info.outstanding), "lanes", info.lanes, "copies",
                       info.copies != 0 ? Py_True : Py_False);
}

// Leaves the group. `done`: what is still held counts as dealt with (as if released); else it is
// given out again.
void shut(ReaderObject* reader, bool done) {
  if (!reader->gate.open) return;
  while (reader->held != nullptr) {
    MessageObject* message = reader->held;
    message_forget(message);
    Error error;
    if (done && reader->gate.generation == forks) atoll_consumer_release(reader->handle, &message->view, &error);
  }
  reader->gate.open = false;
  atoll_consumer* handle = reader->handle;
  reader->handle = nullptr;
  if (reader->later != nullptr) reader->later->clear();
  const Busy busy(reader->gate);
  without_gil([&] { atoll_consumer_close(handle); });
}

PyObject* reader_close(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"release", nullptr};
  ReaderObject* reader = cast(self);
  int release = 0;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|$p:close", const_cast<char**>(names), &release)) return nullptr;
  const char* const fix = "release them first, or use close(release=True) for messages that nobody looks at";
  if (!may_close<ReaderObject>(self, "memoryviews or arrays over messages of this handle are still in use", fix)) return none_or_error();
  if (reader->gate.generation == forks && reader->held_count > 0 && release == 0) {
    set_error(ATOLL_VIEWS_LIVE, "messages of this handle are not released yet", fix);
    return nullptr;
  }
  shut(reader, true);
  Py_RETURN_NONE;
}

// with: a block that ends well has dealt with what it received; one that fails has not, and its
// records are given out again.
PyObject* reader_exit(PyObject* self, PyObject* arguments) {
  ReaderObject* reader = cast(self);
  const bool well = PyTuple_GET_SIZE(arguments) == 0 || PyTuple_GET_ITEM(arguments, 0) == Py_None;
  if (well) {
    PyObject* none = PyTuple_New(0);
    PyObject* release = none == nullptr ? nullptr : Py_BuildValue("{s:O}", "release", Py_True);
    PyObject* result = release == nullptr ? nullptr : reader_close(self, none, release);
    Py_XDECREF(none);
    Py_XDECREF(release);
    return result;
  }
  if (reader->gate.open && !reader->gate.busy && reader->exports == 0) shut(reader, false);
  Py_RETURN_NONE;
}

PyObject* reader_open(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"client", "name", "observer", "group", "manual", "exclusive", "ephemeral",
                                "spin", "start", "back", "prefetch", "wait", nullptr};
  PyObject *core = nullptr, *name_object = nullptr, *group_object = Py_None, *back_object = nullptr, *prefetch_object = nullptr, *wait = nullptr;
  const char *name = nullptr, *group = nullptr;
  int observer = 0, manual = 0, exclusive = 0, ephemeral = 0, spin = 0;
  unsigned int start = 0;
  unsigned long long back = 0, prefetch = 0;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OO|$pOppppIOOO:_open", const_cast<char**>(names), &core, &name_object, &observer,
                                   &group_object, &manual, &exclusive, &ephemeral, &spin, &start, &back_object, &prefetch_object, &wait) ||
      !text_from(name_object, "name", ATOLL_INVALID_NAME, name) ||
      !text_or_none_from(group_object, "group", ATOLL_INVALID_NAME, group) || !unsigned_from(back_object, "back", back) ||
      !unsigned_from(prefetch_object, "prefetch", prefetch, 64))
    return nullptr;
  ReaderObject* reader = cast(self);
  if (reader->gate.open && reader->gate.generation == forks) {
    set_error(ATOLL_INVALID_ARGUMENT, "this handle is open already");
    return nullptr;
  }
  std::int64_t wait_ns = 0;
  if (wait != nullptr && wait != Py_None && !timeout_from(wait, wait_ns, "wait")) return nullptr;
  const std::shared_ptr<atoll_client> client = client_of(core);
  if (client == nullptr) return nullptr;
  atoll_consumer_options options = ATOLL_CONSUMER_OPTIONS_INIT;
  options.flags = (manual != 0 ? ATOLL_CONSUMER_MANUAL : 0u) | (exclusive != 0 ? ATOLL_CONSUMER_EXCLUSIVE : 0u) |
                  (ephemeral != 0 ? ATOLL_CONSUMER_EPHEMERAL : 0u) | (spin != 0 ? ATOLL_CONSUMER_SPIN : 0u);
  options.group = group;
  options.start = start;
  options.start_back = back;
  options.prefetch = static_cast<std::uint32_t>(prefetch);
  const Until until(wait_ns);  // over all tries: a signal begins another one
  const auto open = observer != 0 ? atoll_client_open_observer : atoll_client_open_consumer;
  atoll_consumer* handle = nullptr;
  if (!control([&](Error* error) { return options.wait_ns = until.left(), open(client.get(), name, &options, &handle, error); })) return nullptr;
  abandon(reader, [](ReaderObject* inherited) { shut(inherited, false); });
  reader->handle = handle;
  reader->manual = manual != 0;
  reader->observer = observer != 0;
  reader->gate = {forks, true, false};
  Py_RETURN_NONE;
}

void reader_dealloc(PyObject* self) {
  ReaderObject* reader = cast(self);
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  shut(reader, false);  // no message refers to it any more
  delete reader->later;
  PyErr_Restore(type, value, traceback);
  Py_TYPE(self)->tp_free(self);
}


PyGetSetDef reader_properties[] = {
    {"closed", handle_closed<ReaderObject>, nullptr, "True once close() was called.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef reader_methods[] = {
    {"receive", method(reader_receive), METH_FASTCALL | METH_KEYWORDS,
     "receive(timeout=None) -> Message\n\nThe next record. timeout in seconds: None waits without limit, 0 tries once.\n"
     "Raises TimedOut, Ended, Removed, LaneDamaged, GroupDamaged, TooManyUnacknowledged, Closed, InUse."},
    {"receive_many", method(reader_receive_many), METH_FASTCALL | METH_KEYWORDS,
     "receive_many(max, timeout=None) -> list of Message\n\n1 to max records (at most 1024): waits for the first only."},
    {"receive_bytes", method(reader_receive_bytes), METH_FASTCALL | METH_KEYWORDS,
     "receive_bytes(timeout=None) -> bytes\n\nA copy of the next record's payload; the record is released."},
    {"fileno", handle_fileno<ReaderObject, atoll_consumer_event_fd>, METH_NOARGS,
     "fileno() -> int\n\nA descriptor for select and event loops, readable when receive(timeout=0) may succeed, fail or end.\n"
     "It stays readable until such a call raised TimedOut."},
    {"close", method(reader_close), METH_VARARGS | METH_KEYWORDS,
     "close(*, release=False)\n\nLeaves the group. ViewsLive (a BufferError) while messages are held; with release=True they are\n"
     "released first, and only memoryviews and arrays keep it open. Closing twice is allowed."},
    {"_poll", reader_poll, METH_NOARGS, nullptr},
    {"_info", reader_info, METH_NOARGS, nullptr},
    {"_open", method(reader_open), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"__enter__", handle_enter<ReaderObject>, METH_NOARGS, nullptr},
    {"__exit__", reader_exit, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyTypeObject reader_type = [] {
  PyTypeObject type = new_type("atoll._core.ReaderCore", sizeof(ReaderObject));
  type.tp_dealloc = reader_dealloc;
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE;
  type.tp_methods = reader_methods;
  type.tp_getset = reader_properties;
  type.tp_iter = reader_iterate;
  type.tp_new = PyType_GenericNew;
  return type;
}();

}  // namespace

atoll_status reader_receive_one(ReaderObject* reader, std::int64_t timeout_ns, atoll_view& view, Error& error) {
  reader->slice = 0;
  return wait_for(
      reader->gate, timeout_ns, [&](std::int64_t slice) { return atoll_consumer_receive(reader->handle, slice, &view, &error); },
      [&] { return next_slice(reader); });
}

bool ready_reader(PyObject* module) { return add_type(module, reader_type); }

}  // namespace atoll_python
