// MessageIterator: one loop over a reader. `iter(consumer)` makes it, and `async for` uses one (stream.py).
//
// When the next message is asked for, the one that this loop was given last is released if nobody but the
// loop's variable refers to it: it would hold back its group while the loop waits. Each loop knows its own last
// message, so loops over one reader leave each other's alone. Message and iterator point at each other, and
// whichever goes first tells the other.
#include "message.hpp"

namespace atoll_python {

namespace {

IteratorObject* cast(PyObject* self) { return reinterpret_cast<IteratorObject*>(self); }

bool enter_reader(IteratorObject* iterator) { return enter(reinterpret_cast<PyObject*>(iterator->reader), iterator->reader->gate); }

// From now on `message`, which may be null, is what was given out last. Returns the one before.
MessageObject* exchange_last(IteratorObject* iterator, MessageObject* message) noexcept {
  MessageObject* const before = iterator->last;
  if (before != nullptr) before->iterator = nullptr;
  if (message != nullptr) message->iterator = iterator;
  iterator->last = message;
  return before;
}

void let_go_last(IteratorObject* iterator) noexcept {
  MessageObject* const last = exchange_last(iterator, nullptr);
  if (last != nullptr) message_let_go(last);
}

PyObject* give_out(IteratorObject* iterator, const atoll_view& view) {
  PyObject* const message = message_new(iterator->reader, view);
  exchange_last(iterator, reinterpret_cast<MessageObject*>(message));
  return message;
}

PyObject* iterator_next(PyObject* self) {
  IteratorObject* iterator = cast(self);
  if (!enter_reader(iterator)) return nullptr;
  let_go_last(iterator);
  atoll_view view;
  Error error;
  const atoll_status status = reader_receive_one(iterator->reader, -1, view, error);
  if (status == ATOLL_ENDED) return nullptr;  // StopIteration
  return status == ATOLL_OK ? give_out(iterator, view) : failed(status, error);
}

// The two halves of that for `async for`: before waiting, and each try; None if there is nothing.
PyObject* iterator_let_go_last(PyObject* self, PyObject*) {
  if (!enter_reader(cast(self))) return nullptr;
  let_go_last(cast(self));
  Py_RETURN_NONE;
}

PyObject* iterator_poll(PyObject* self, PyObject*) {
  IteratorObject* iterator = cast(self);
  if (!enter_reader(iterator)) return nullptr;
  atoll_view view;
  Error error;
  const atoll_status status = atoll_consumer_receive(iterator->reader->handle, 0, &view, &error);
  if (status == ATOLL_TIMED_OUT || status == ATOLL_INTERRUPTED) Py_RETURN_NONE;
  return status == ATOLL_OK ? give_out(iterator, view) : failed(status, error);
}

int iterator_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(cast(self)->reader);
  return 0;
}

void iterator_dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  exchange_last(cast(self), nullptr);
  Py_DECREF(cast(self)->reader);
  PyObject_GC_Del(self);
}

PyMethodDef iterator_methods[] = {
    {"_let_go_last", iterator_let_go_last, METH_NOARGS, nullptr},
    {"_poll", iterator_poll, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyTypeObject iterator_type = [] {
  PyTypeObject type = new_type("atoll._core.MessageIterator", sizeof(IteratorObject));
  type.tp_dealloc = iterator_dealloc;
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  type.tp_doc = "One loop over a consumer or an observer; it releases the message before when it is asked for the next.";
  type.tp_traverse = iterator_traverse;
  type.tp_iter = PyObject_SelfIter;
  type.tp_iternext = iterator_next;
  type.tp_methods = iterator_methods;
  return type;
}();

}  // namespace

PyObject* iterator_new(ReaderObject* reader) {
  IteratorObject* iterator = PyObject_GC_New(IteratorObject, &iterator_type);
  if (iterator == nullptr) return nullptr;
  Py_INCREF(reader);
  iterator->reader = reader;
  iterator->last = nullptr;
  PyObject_GC_Track(iterator);
  return reinterpret_cast<PyObject*>(iterator);
}

bool ready_iterator(PyObject* module) { return add_type(module, iterator_type); }

}  // namespace atoll_python
