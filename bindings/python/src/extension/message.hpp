// Message: one record that was received, seen in place. Made by readers (reader.cpp).
//
// While it is held (not released) it is on its reader's list, and its memory is valid. Each
// memoryview or array over it counts in `exports`, here and at the reader: as long as one lives,
// neither release() nor the reader's close() goes through, so no pointer ever dangles. A message that
// is garbage-collected releases itself, from whatever thread; if the reader is busy in another
// thread just then, that is left for it to do (`Later`). A loop over a reader is a MessageIterator.
#pragma once

#include <vector>

#include "core.hpp"

namespace atoll_python {

struct MessageObject;
struct IteratorObject;

struct Later {
  enum class Op : std::uint8_t { release, acknowledge, acknowledge_up_to, reject } op;
  atoll_view view;
};

struct ReaderObject {
  PyObject_HEAD
  atoll_consumer* handle;
  Gate gate;
  bool manual;
  bool observer;
  std::int64_t slice;          // of the wait that is under way
  MessageObject* held;         // list of the messages not released
  Py_ssize_t held_count;
  Py_ssize_t exports;          // of all of them
  std::vector<Later>* later;   // what other threads left to be done; null: nothing ever
};

struct MessageObject {
  PyObject_HEAD
  ReaderObject* reader;  // a strong reference
  MessageObject* previous;
  MessageObject* next;
  IteratorObject* iterator;  // that gave it out as its last; not a reference
  Py_ssize_t exports;
  std::uint32_t generation;  // `forks` when it was received
  bool held;
  atoll_view view;
};

// One loop over a reader (iterator.cpp).
struct IteratorObject {
  PyObject_HEAD
  ReaderObject* reader;  // a strong reference
  MessageObject* last;   // what it gave out last, if it is still there; not a reference
};

// A new reference; null with an exception set (the view is then released).
PyObject* message_new(ReaderObject* reader, const atoll_view& view);

// Takes a message off its reader's list without telling the library.
void message_forget(MessageObject* message) noexcept;

// Releases a message if nobody but one variable refers to it.
void message_let_go(MessageObject* message) noexcept;

// A MessageIterator over the reader: a new reference, null with an exception set.
PyObject* iterator_new(ReaderObject* reader);

// Receives one record, waiting without the GIL if it has to; kPythonError with an exception set. Whoever calls has
// entered the reader.
atoll_status reader_receive_one(ReaderObject* reader, std::int64_t timeout_ns, atoll_view& view, Error& error);

// Tells the library now, or leaves it for the thread that is using the reader.
atoll_status reader_tell(ReaderObject* reader, Later::Op op, const atoll_view& view, Error& error);

}  // namespace atoll_python
