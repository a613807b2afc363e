// Message: the type that received records come as. See message.hpp.
#include "message.hpp"

#include <structmember.h>

namespace atoll_python {

namespace {

constexpr int kSpares = 512;
MessageObject* spares[kSpares];  // memory of messages that are gone, to be used again
int spare_count = 0;

extern PyTypeObject message_type;

MessageObject* cast(PyObject* self) { return reinterpret_cast<MessageObject*>(self); }

// True if the payload may be looked at.
bool readable(MessageObject* message) {
  if (message->held && message->generation == forks) [[likely]]
    return true;
  if (message->held)
    set_error(ATOLL_FORKED, "this message was received by the parent process", "receive in the child");
  else
    set_error(ATOLL_VIEW_RELEASED, "this message was released", "copy what you need before releasing it");
  return false;
}

const char* payload(const MessageObject* message) {
  return message->view.data == nullptr ? "" : static_cast<const char*>(message->view.data);
}

// Gives the record back; the caller has made sure that nobody looks at it.
atoll_status give_back(MessageObject* message, Error& error) {
  message_forget(message);
  ReaderObject* reader = message->reader;
  if (message->generation != forks || !reader->gate.open) return ATOLL_OK;
  if (!reader->gate.busy) [[likely]]  // as reader_tell() would, without its 28 instructions for every message
    return atoll_consumer_release(reader->handle, &message->view, &error);
  return reader_tell(reader, Later::Op::release, message->view, error);
}

void message_dealloc(PyObject* self) {
  MessageObject* message = cast(self);
  ReaderObject* reader = message->reader;
  if (message->iterator != nullptr) message->iterator->last = nullptr;
  if (message->held) {
    Error error;
    give_back(message, error);
  }
  if (spare_count < kSpares)
    spares[spare_count++] = message;
  else
    PyObject_Free(message);
  Py_DECREF(reader);
}

int message_get_buffer(PyObject* self, Py_buffer* out, int flags) {
  MessageObject* message = cast(self);
  out->obj = nullptr;
  if (!readable(message)) return -1;
  if (PyBuffer_FillInfo(out, self, const_cast<char*>(payload(message)), static_cast<Py_ssize_t>(message->view.length), 1, flags) != 0)
    return -1;
  ++message->exports;
  ++message->reader->exports;
  return 0;
}

void message_release_buffer(PyObject* self, Py_buffer*) {
  MessageObject* message = cast(self);
  --message->exports;
  if (message->generation == message->reader->gate.generation) --message->reader->exports;
}

Py_ssize_t message_length(PyObject* self) {
  return readable(cast(self)) ? static_cast<Py_ssize_t>(cast(self)->view.length) : -1;
}

PyObject* message_release(PyObject* self, PyObject*) {
  MessageObject* message = cast(self);
  if (!readable(message)) return nullptr;
  if (message->exports > 0) {
    set_error(ATOLL_VIEWS_LIVE, "a memoryview or array over this message is still in use", "release or delete it first");
    return nullptr;
  }
  Error error;
  const atoll_status status = give_back(message, error);
  if (status != ATOLL_OK) {
    set_error(status, error);
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* tell(PyObject* self, Later::Op op) {
  MessageObject* message = cast(self);
  ReaderObject* reader = message->reader;
  if (message->generation != forks) {
    set_error(ATOLL_FORKED, "this message was received by the parent process", "receive in the child");
    return nullptr;
  }
  if (!reader->gate.open) {
    set_error(ATOLL_CLOSED, "the consumer that received this message was closed", "acknowledge before closing it");
    return nullptr;
  }
  Error error;
  const atoll_status status = reader_tell(reader, op, message->view, error);
  if (status != ATOLL_OK) {
    set_error(status, error);
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* message_acknowledge(PyObject* self, PyObject*) { return tell(self, Later::Op::acknowledge); }
PyObject* message_acknowledge_up_to(PyObject* self, PyObject*) { return tell(self, Later::Op::acknowledge_up_to); }

PyObject* message_reject(PyObject* self, PyObject*) { return tell(self, Later::Op::reject); }

PyObject* message_enter(PyObject* self, PyObject*) {
  if (!readable(cast(self))) return nullptr;
  Py_INCREF(self);
  return self;
}

PyObject* message_exit(PyObject* self, PyObject* arguments) {
  MessageObject* message = cast(self);
  if (!message->held || message->generation != forks) Py_RETURN_NONE;
  // A block that fails has exceptions whose tracebacks keep views alive: the garbage collector releases then.
  const bool failed = PyTuple_Check(arguments) && PyTuple_GET_SIZE(arguments) > 0 && PyTuple_GET_ITEM(arguments, 0) != Py_None;
  if (failed && message->exports > 0) Py_RETURN_NONE;
  return message_release(self, nullptr);
}

PyObject* message_view(PyObject* self, void*) { return PyMemoryView_FromObject(self); }

PyObject* message_text(PyObject* self, void*) {
  MessageObject* message = cast(self);
  if (!readable(message)) return nullptr;
  PyObject* text = PyUnicode_DecodeUTF8(payload(message), static_cast<Py_ssize_t>(message->view.length), nullptr);
  if (text == nullptr && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
    PyErr_Clear();
    set_error(ATOLL_BAD_ENCODING, "the record is not UTF-8 text", "check how it was sent; read it as bytes to look at it");
  }
  return text;
}

// json() and array() are written in Python: atoll.encoding, atoll.arrays.
PyObject* decode(PyObject* self, const char* module_name, const char* function) {
  if (!readable(cast(self))) return nullptr;
  PyObject* module = PyImport_ImportModule(module_name);
  if (module == nullptr) return nullptr;
  PyObject* result = PyObject_CallMethod(module, function, "O", self);
  Py_DECREF(module);
  return result;
}
PyObject* message_json(PyObject* self, PyObject*) { return decode(self, "atoll.encoding", "json_of"); }
PyObject* message_array(PyObject* self, PyObject*) { return decode(self, "atoll.arrays", "array_of"); }

PyObject* message_redelivered(PyObject* self, void*) { return PyBool_FromLong(cast(self)->view.deliveries > 1); }
PyObject* message_released(PyObject* self, void*) { return PyBool_FromLong(!cast(self)->held); }

PyObject* message_content(PyObject* self, void*) {
  static const char* const kNames[] = {"bytes", "text", "json", "array"};
  const unsigned content = cast(self)->view.content;
  return PyUnicode_FromString(content < 4 ? kNames[content] : "bytes");
}

PyObject* message_repr(PyObject* self) {
  const MessageObject* message = cast(self);
  return PyUnicode_FromFormat("<atoll.Message %llu bytes, lane %u, sequence %llu%s>",
                              static_cast<unsigned long long>(message->view.length), static_cast<unsigned>(message->view.lane),
                              static_cast<unsigned long long>(message->view.sequence), message->held ? "" : ", released");
}

constexpr Py_ssize_t kView = offsetof(MessageObject, view);

PyMemberDef message_members[] = {
    {"sequence", T_ULONGLONG, kView + static_cast<Py_ssize_t>(offsetof(atoll_view, sequence)), READONLY, "Number of the record in its lane, from 0."},
    {"lane", T_USHORT, kView + static_cast<Py_ssize_t>(offsetof(atoll_view, lane)), READONLY, "Number of the lane, that is of the producer, it came through."},
    {"lost", T_ULONGLONG, kView + static_cast<Py_ssize_t>(offsetof(atoll_view, lost)), READONLY, "Records of this lane that were lost just before this one."},
    {"deliveries", T_USHORT, kView + static_cast<Py_ssize_t>(offsetof(atoll_view, deliveries)), READONLY, "1 the first time; more after a death, a rejection or a close."},
    {nullptr, 0, 0, 0, nullptr},
};

PyGetSetDef message_properties[] = {
    {"view", message_view, nullptr, "A read-only memoryview of the payload, without a copy.", nullptr},
    {"text", message_text, nullptr, "The payload as str. BadEncoding if it is not UTF-8.", nullptr},
    {"content", message_content, nullptr, "What the sender said it is: \"bytes\", \"text\", \"json\" or \"array\".", nullptr},
    {"redelivered", message_redelivered, nullptr, "True if it was given out before.", nullptr},
    {"released", message_released, nullptr, "True once it may not be looked at any more.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef message_methods[] = {
    {"release", message_release, METH_NOARGS, "Says that the payload is not looked at any more; unless the consumer is manual, also that it is dealt with.\n\nViewsLive (a BufferError) while a memoryview or array over it lives; ViewReleased the second time."},
    {"acknowledge", message_acknowledge, METH_NOARGS, "Manual consumers: says that the record is dealt with. Before or after release()."},
    {"acknowledge_up_to", message_acknowledge_up_to, METH_NOARGS, "Manual consumers: acknowledges this record and all received before it."},
    {"reject", message_reject, METH_NOARGS, "Manual consumers: the record is given out again, marked as redelivered, once it is released and all that was\nclaimed together with it is decided (prefetch=1: at once)."},
    {"json", message_json, METH_NOARGS, "The payload parsed as JSON. BadEncoding if it is none."},
    {"array", message_array, METH_NOARGS, "The payload as a read-only NumPy array, without a copy. BadEncoding if it is none."},
    {"__enter__", message_enter, METH_NOARGS, nullptr},
    {"__exit__", message_exit, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyBufferProcs message_buffer = {message_get_buffer, message_release_buffer};

PySequenceMethods message_sequence = [] {
  PySequenceMethods methods{};
  methods.sq_length = message_length;
  return methods;
}();

PyTypeObject message_type = [] {
  PyTypeObject type = new_type("atoll.Message", sizeof(MessageObject));
  type.tp_dealloc = message_dealloc;
  type.tp_repr = message_repr;
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  type.tp_doc =
      "A record that was received, seen in place: memoryview(m), bytes(m), m.text, m.json(), m.array().\n\n"
      "It holds the record's memory until it is released: by release(), at the end of a with block, or when\n"
      "the last reference goes. Using it afterwards raises ViewReleased.";
  type.tp_methods = message_methods;
  type.tp_members = message_members;
  type.tp_getset = message_properties;
  type.tp_as_buffer = &message_buffer;
  type.tp_as_sequence = &message_sequence;
  return type;
}();

}  // namespace

void message_forget(MessageObject* message) noexcept {
  if (!message->held) return;
  message->held = false;
  ReaderObject* reader = message->reader;
  if (message->previous != nullptr)
    message->previous->next = message->next;
  else
    reader->held = message->next;
  if (message->next != nullptr) message->next->previous = message->previous;
  --reader->held_count;
}

void message_let_go(MessageObject* message) noexcept {
  if (!message->held || message->exports > 0 || Py_REFCNT(message) != 1) return;
  Error error;
  give_back(message, error);
}

PyObject* message_new(ReaderObject* reader, const atoll_view& view) {
  MessageObject* message = nullptr;
  if (spare_count > 0) [[likely]]
    message = spares[--spare_count];
  else
    message = static_cast<MessageObject*>(PyObject_Malloc(sizeof(MessageObject)));
  if (message == nullptr) {
    Error error;
    reader_tell(reader, Later::Op::release, view, error);
    return PyErr_NoMemory();
  }
  PyObject_Init(reinterpret_cast<PyObject*>(message), &message_type);
  Py_INCREF(reader);
  message->reader = reader;
  message->iterator = nullptr;
  message->exports = 0;
  message->generation = reader->gate.generation;
  message->held = true;
  message->view = view;
  message->previous = nullptr;
  message->next = reader->held;
  if (reader->held != nullptr) reader->held->previous = message;
  reader->held = message;
  ++reader->held_count;
  return reinterpret_cast<PyObject*>(message);
}

bool ready_message(PyObject* module) { return add_type(module, message_type); }

}  // namespace atoll_python
