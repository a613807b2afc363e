// What handles (producer, reader, bytes) have alike: the descriptor for event loops, `with`, closing, and letting go of
// the parent's in a forked child. Used by the file of each type. `Object` has `handle`, `gate` and `exports`.
#pragma once

#include "core.hpp"

namespace atoll_python {

template <class Object>
Object* object_of(PyObject* self) {
  return reinterpret_cast<Object*>(self);
}

template <class Object, auto EventFd>
PyObject* handle_fileno(PyObject* self, PyObject*) {
  if (!enter(self, object_of<Object>(self)->gate)) return nullptr;
  Error error;
  int descriptor = -1;
  const atoll_status status = EventFd(object_of<Object>(self)->handle, &descriptor, &error);
  return status == ATOLL_OK ? PyLong_FromLong(descriptor) : failed(status, error);
}

template <class Object>
PyObject* handle_enter(PyObject* self, PyObject*) {
  if (!enter(self, object_of<Object>(self)->gate)) return nullptr;
  Py_INCREF(self);
  return self;
}

// The end of a with block: closes. After an exception a close that is refused is left to the garbage collector.
template <auto Close>
PyObject* handle_exit(PyObject* self, PyObject* arguments) {
  const bool well = PyTuple_GET_SIZE(arguments) == 0 || PyTuple_GET_ITEM(arguments, 0) == Py_None;
  PyObject* closed = Close(self, nullptr);
  if (closed != nullptr || well) return closed;
  PyErr_Clear();  // the block's own exception matters more
  Py_RETURN_NONE;
}

template <class Object>
PyObject* handle_closed(PyObject* self, void*) {
  return PyBool_FromLong(!object_of<Object>(self)->gate.open);
}

// May it be closed? False: the exception is set, or it is not to be closed (none is set).
template <class Object>
bool may_close(PyObject* self, const char* looked_at, const char* fix) {
  Object* object = object_of<Object>(self);
  if (!object->gate.open) return false;
  const bool inherited = object->gate.generation != forks;
  if (!inherited && object->gate.busy) return enter(self, object->gate);
  if (object->exports == 0) return true;
  if (!inherited) set_error(ATOLL_VIEWS_LIVE, looked_at, fix);  // else it goes with the last view
  return false;
}

// What close() gives where may_close() said no.
inline PyObject* none_or_error() {
  if (PyErr_Occurred() != nullptr) return nullptr;
  Py_RETURN_NONE;
}

// In a forked child, once it has opened a handle of its own: lets go of the parent's. (Not before, so that an
// open that failed is tried again.) Memory that is still looked at stays mapped. `shut` closes `object`'s handle.
template <class Object, class Shut>
void abandon(Object* object, Shut shut) {
  if (object->exports > 0) object->handle = nullptr;  // goes with the process
  shut(object);
  object->exports = 0;
}

}  // namespace atoll_python
