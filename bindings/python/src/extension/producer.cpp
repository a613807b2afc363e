// ProducerCore: what atoll.Producer is made of. Sends records.
//
// Opened by _open(), which the Python class calls; also again in a forked child.
#include "producer.hpp"

#include <algorithm>

#include "handle.hpp"

namespace atoll_python {

namespace {

extern PyTypeObject producer_type;

constexpr std::size_t kChunk = 128;  // records handed to the library at once

ProducerObject* cast(PyObject* self) { return reinterpret_cast<ProducerObject*>(self); }

// Between two slices of a wait: aborts the loans that other threads dropped. While loans are open the
// slices are short, and longer the longer nothing came.
std::int64_t next_slice(ProducerObject* producer) {
  const bool any = producer->later != nullptr && !producer->later->empty();
  if (any) {
    for (const atoll_loan& loan : *producer->later) {
      Error error;
      atoll_producer_abort(producer->handle, &loan, &error);
    }
    producer->later->clear();
  }
  producer->slice = any || producer->slice == 0 ? kShortSlice : std::min(producer->slice * 2, kLongSlice / 2);
  return producer->loans != nullptr ? producer->slice : kLongSlice;
}

// True stored, False dropped, null failed.
PyObject* send(ProducerObject* producer, const void* data, std::uint64_t size, std::uint32_t content, std::int64_t timeout_ns) {
  Error error;
  producer->slice = 0;
  const atoll_status status = wait_for(
      producer->gate, timeout_ns,
      [&](std::int64_t slice) { return atoll_producer_send(producer->handle, data, size, content, slice, &error); },
      [&] { return next_slice(producer); }, size >= kLargeCopy);
  if (status == ATOLL_OK) [[likely]]
    Py_RETURN_TRUE;
  if (status == ATOLL_DROPPED) Py_RETURN_FALSE;
  return failed(status, error);
}

PyObject* producer_send(PyObject* self, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords) {
  ProducerObject* producer = cast(self);
  PyObject* data = nullptr;
  std::int64_t timeout_ns = -1;
  if (!fast_arguments("send", "data", arguments, given, keywords, data, timeout_ns)) return nullptr;
  Payload payload;
  if (!payload.take(data) || !enter(self, producer->gate)) return nullptr;
  return send(producer, payload.data(), payload.size(), payload.content(), timeout_ns);
}

// _send(payload, content, timeout): for JSON.
PyObject* producer_send_as(PyObject* self, PyObject* arguments) {
  ProducerObject* producer = cast(self);
  PyObject *data = nullptr, *timeout = nullptr;
  unsigned int content = 0;
  std::int64_t timeout_ns = -1;
  if (!PyArg_ParseTuple(arguments, "OIO:_send", &data, &content, &timeout) || !timeout_from(timeout, timeout_ns)) return nullptr;
  Payload payload;
  if (!payload.take(data) || !enter(self, producer->gate)) return nullptr;
  return send(producer, payload.data(), payload.size(), content, timeout_ns);
}

// Asks for a loan of `size` bytes, waiting if it has to.
atoll_status lend(ProducerObject* producer, std::uint64_t size, std::uint32_t content, std::int64_t timeout_ns, atoll_loan& loan,
                  Error& error) {
  producer->slice = 0;
  return wait_for(
      producer->gate, timeout_ns,
      [&](std::int64_t slice) { return atoll_producer_loan(producer->handle, size, content, slice, &loan, &error); },
      [&] { return next_slice(producer); });
}

// _send_parts(head, body, content, timeout): one record made of two buffers, with one copy. For arrays.
PyObject* producer_send_parts(PyObject* self, PyObject* arguments) {
  ProducerObject* producer = cast(self);
  PyObject *first = nullptr, *second = nullptr, *timeout = nullptr;
  unsigned int content = 0;
  std::int64_t timeout_ns = -1;
  if (!PyArg_ParseTuple(arguments, "OOIO:_send_parts", &first, &second, &content, &timeout) || !timeout_from(timeout, timeout_ns))
    return nullptr;
  Payload head, body;
  if (!head.take(first) || !body.take(second) || !enter(self, producer->gate)) return nullptr;
  Error error;
  atoll_loan loan{};
  atoll_status status = lend(producer, head.size() + body.size(), content, timeout_ns, loan, error);
  if (status == ATOLL_DROPPED) Py_RETURN_FALSE;
  if (status != ATOLL_OK) return failed(status, error);
  const auto fill = [&] {
    std::memcpy(loan.data, head.data(), head.size());
    if (body.size() > 0) std::memcpy(static_cast<char*>(loan.data) + head.size(), body.data(), body.size());
  };
  if (body.size() >= kLargeCopy) {
    {
      const Busy busy(producer->gate);
      without_gil(fill);
    }
    producer->slice = 0;
    next_slice(producer);
  } else {
    fill();
  }
  status = atoll_producer_commit(producer->handle, &loan, &error);
  if (status != ATOLL_OK) return failed(status, error);
  Py_RETURN_TRUE;
}

PyObject* producer_loan(PyObject* self, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords) {
  ProducerObject* producer = cast(self);
  PyObject* nbytes = nullptr;
  std::int64_t timeout_ns = -1;
  if (!fast_arguments("loan", "nbytes", arguments, given, keywords, nbytes, timeout_ns)) return nullptr;
  unsigned long long size = 0;
  if (!unsigned_from(nbytes, "nbytes", size) || !enter(self, producer->gate)) return nullptr;
  Error error;
  atoll_loan loan{};
  const atoll_status status = lend(producer, size, ATOLL_CONTENT_BYTES, timeout_ns, loan, error);
  return status == ATOLL_OK ? loan_new(producer, loan) : failed(status, error);
}

// ---- send_many -----------------------------------------------------------------------------------

// Records of one content kind, gathered to be handed over together. Holds references to them.
class Chunk {
 public:
  Chunk() noexcept = default;
  ~Chunk() { clear(); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] bool full() const noexcept { return count_ == kChunk; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint32_t content() const noexcept { return content_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] const atoll_slice* slices() const noexcept { return slices_; }

  // The chunk takes over the caller's reference. False: of another content kind (not taken), or an
  // exception is set.
  bool add(PyObject* item) {
    std::uint32_t content = ATOLL_CONTENT_BYTES;
    atoll_slice& slice = slices_[count_];
    if (PyBytes_CheckExact(item)) [[likely]] {
      slice = {PyBytes_AS_STRING(item), static_cast<std::uint64_t>(PyBytes_GET_SIZE(item))};
    } else {
      content = PyUnicode_Check(item) ? ATOLL_CONTENT_TEXT : ATOLL_CONTENT_BYTES;
      if (count_ > 0 && content != content_) return false;
      others_[count_].emplace();
      if (!others_[count_]->take(item)) {
        others_[count_].reset();
        return false;
      }
      slice = {others_[count_]->data(), others_[count_]->size()};
    }
    if (count_ > 0 && content != content_) return false;
    content_ = content;
    bytes_ += slice.length;
    items_[count_++] = item;
    return true;
  }
  void clear() noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      others_[i].reset();
      or_stay([&] { Py_DECREF(items_[i]); });
    }
    count_ = 0;
    bytes_ = 0;
  }

 private:
  // A Payload that may not be there, without the cost of making it.
  class Maybe {
   public:
    void emplace() { there_ = new (&room_) Payload; }
    void reset() noexcept {
      if (there_ != nullptr) [[unlikely]] {
        there_->~Payload();
        there_ = nullptr;
      }
    }
    Payload* operator->() noexcept { return there_; }

   private:
    Payload* there_ = nullptr;
    alignas(Payload) unsigned char room_[sizeof(Payload)];
  };

  std::size_t count_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint32_t content_ = ATOLL_CONTENT_BYTES;
  atoll_slice slices_[kChunk];
  PyObject* items_[kChunk];
  Maybe others_[kChunk];
};

// What send_many has done so far.
struct Progress {
  const Until& until;
  std::size_t sent = 0;
};

bool hand_over(ProducerObject* producer, Chunk& chunk, Progress& progress) {
  if (chunk.empty()) return true;
  PyObject* self = reinterpret_cast<PyObject*>(producer);
  if (!enter(self, producer->gate)) return false;
  Error error;
  std::size_t done = 0;
  producer->slice = 0;
  const atoll_status status = wait_for(
      producer->gate, progress.until.left(),
      [&](std::int64_t slice) {
        atoll_status here = ATOLL_OK;
        while (done < chunk.count()) {
          std::size_t sent = 0;
          here = atoll_producer_send_many(producer->handle, chunk.slices() + done, chunk.count() - done, chunk.content(), slice, &sent, &error);
          done += sent;
          if (here != ATOLL_DROPPED || sent == 0) break;
        }
        return here == ATOLL_DROPPED && done == chunk.count() ? ATOLL_OK : here;
      },
      [&] { return next_slice(producer); }, chunk.bytes() >= kLargeCopy);
  progress.sent += done;
  chunk.clear();
  if (status == ATOLL_OK) return true;
  failed(status, error);
  return false;
}

std::uint64_t dropped(ProducerObject* producer) {
  if (!producer->drop_new) return 0;
  atoll_producer_info info{};
  info.struct_size = sizeof(info);
  return atoll_producer_get_info(producer->handle, &info, nullptr) == ATOLL_OK ? info.dropped : 0;
}

// Puts what was sent into the exception that is set, as its attribute `sent`.
void note_sent(std::size_t sent) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  PyObject* number = PyLong_FromSize_t(sent);
  if (value == nullptr || number == nullptr || PyObject_SetAttrString(value, "sent", number) != 0) PyErr_Clear();
  Py_XDECREF(number);
  PyErr_Restore(type, value, traceback);
}

PyObject* producer_send_many(PyObject* self, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords) {
  ProducerObject* producer = cast(self);
  PyObject* records = nullptr;
  std::int64_t timeout_ns = -1;
  if (!fast_arguments("send_many", "records", arguments, given, keywords, records, timeout_ns) || !enter(self, producer->gate)) return nullptr;
  if (PyBytes_Check(records) || PyUnicode_Check(records) || PyByteArray_Check(records)) {
    PyErr_SetString(PyExc_TypeError, "send_many() takes an iterable of records, not one record; use send()");
    return nullptr;
  }
  PyObject* list = PyList_CheckExact(records) ? records : nullptr;
  PyObject* iterator = list != nullptr ? nullptr : PyObject_GetIter(records);
  if (list == nullptr && iterator == nullptr) return nullptr;
  const std::uint64_t dropped_before = dropped(producer);
  const Until until(timeout_ns);
  Progress progress{until};
  Chunk chunk;
  bool good = true;
  for (Py_ssize_t i = 0; good; ++i) {
    PyObject* item = nullptr;
    if (list != nullptr) {
      if (i < PyList_GET_SIZE(list)) {
        item = PyList_GET_ITEM(list, i);
        Py_INCREF(item);
      }
    } else {
      item = or_stay([&] { return PyIter_Next(iterator); });
      good = item != nullptr || !PyErr_Occurred();
    }
    if (item == nullptr) break;
    while (good && !chunk.add(item)) {
      good = !PyErr_Occurred() && hand_over(producer, chunk, progress);  // another content kind: those before it first
      if (!good) Py_DECREF(item);
    }
    if (good && chunk.full()) good = hand_over(producer, chunk, progress);
  }
  Py_XDECREF(iterator);
  if (good)
    good = hand_over(producer, chunk, progress);
  else if (!chunk.empty()) {
    // An item that is no record, or an iterator that raised: what came before it is sent all the same.
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (hand_over(producer, chunk, progress))
      PyErr_Restore(type, value, traceback);
    else {
      Py_XDECREF(type);
      Py_XDECREF(value);
      Py_XDECREF(traceback);
    }
  }
  const std::uint64_t dropped_now = producer->gate.open ? dropped(producer) - dropped_before : 0;
  const std::size_t stored = progress.sent - std::min<std::size_t>(progress.sent, static_cast<std::size_t>(dropped_now));
  if (good) return PyLong_FromSize_t(stored);
  note_sent(stored);
  return nullptr;
}

// ---- The rest --------------------------------------------------------------------------------------

PyObject* producer_finish(PyObject* self, PyObject*) {
  ProducerObject* producer = cast(self);
  if (!enter(self, producer->gate)) return nullptr;
  Error error;
  const atoll_status status = atoll_producer_finish(producer->handle, &error);
  if (status != ATOLL_OK) return failed(status, error);
  Py_RETURN_NONE;
}

PyObject* producer_info(PyObject* self, PyObject*) {
  ProducerObject* producer = cast(self);
  if (!enter(self, producer->gate)) return nullptr;
  Error error;
  atoll_producer_info info{};
  info.struct_size = sizeof(info);
  const atoll_status status = atoll_producer_get_info(producer->handle, &info, &error);
  if (status != ATOLL_OK) return failed(status, error);
  const auto wide = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  return Py_BuildValue("{s:I,s:K,s:K,s:K,s:K,s:K,s:I,s:I}", "lane", info.lane, "capacity", wide(info.capacity), "max_payload",
                       wide(info.max_payload), "sequence", wide(info.sequence), "dropped", wide(info.dropped), "blocked",
                       wide(info.blocked), "alignment", info.alignment, "when_full", info.when_full);
}

// Gives the lane back; open loans are aborted by the library.
void shut(ProducerObject* producer) {
  if (!producer->gate.open) return;
  while (producer->loans != nullptr) loan_forget(producer->loans);
  producer->gate.open = false;
  atoll_producer* handle = producer->handle;
  producer->handle = nullptr;
  if (producer->later != nullptr) producer->later->clear();
  const Busy busy(producer->gate);
  without_gil([&] { atoll_producer_close(handle); });
}

PyObject* producer_close(PyObject* self, PyObject*) {
  if (!may_close<ProducerObject>(self, "memoryviews or arrays over loans of this producer are still in use", "delete them first"))
    return none_or_error();
  shut(cast(self));
  Py_RETURN_NONE;
}

PyObject* producer_open(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"client", "name", "wait", nullptr};
  PyObject *core = nullptr, *name_object = nullptr, *wait = nullptr;
  const char* name = nullptr;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OO|$O:_open", const_cast<char**>(names), &core, &name_object, &wait) ||
      !text_from(name_object, "name", ATOLL_INVALID_NAME, name))
    return nullptr;
  ProducerObject* producer = cast(self);
  if (producer->gate.open && producer->gate.generation == forks) {
    set_error(ATOLL_INVALID_ARGUMENT, "this handle is open already");
    return nullptr;
  }
  std::int64_t wait_ns = 0;
  if (wait != nullptr && wait != Py_None && !timeout_from(wait, wait_ns, "wait")) return nullptr;
  const std::shared_ptr<atoll_client> client = client_of(core);
  if (client == nullptr) return nullptr;
  atoll_producer_options options = ATOLL_PRODUCER_OPTIONS_INIT;
  const Until until(wait_ns);  // over all tries: a signal begins another one
  atoll_producer* handle = nullptr;
  if (!control([&](Error* error) { return options.wait_ns = until.left(), atoll_client_open_producer(client.get(), name, &options, &handle, error); })) return nullptr;
  atoll_producer_info info{};
  info.struct_size = sizeof(info);
  Error error;
  const atoll_status status = atoll_producer_get_info(handle, &info, &error);
  if (status != ATOLL_OK) {
    atoll_producer_close(handle);
    return failed(status, error);
  }
  abandon(producer, shut);
  producer->handle = handle;
  producer->drop_new = info.when_full == ATOLL_DROP_NEW;
  producer->gate = {forks, true, false};
  Py_RETURN_NONE;
}

void producer_dealloc(PyObject* self) {
  ProducerObject* producer = cast(self);
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  shut(producer);  // no loan refers to it any more
  delete producer->later;
  PyErr_Restore(type, value, traceback);
  Py_TYPE(self)->tp_free(self);
}


PyGetSetDef producer_properties[] = {
    {"closed", handle_closed<ProducerObject>, nullptr, "True once close() was called.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef producer_methods[] = {
    {"send", method(producer_send), METH_FASTCALL | METH_KEYWORDS,
     "send(data, timeout=None) -> bool\n\nSends one record: a copy of a bytes-like object, or a str as UTF-8 text. False if the stream is\n"
     "drop-new and full. timeout in seconds: None waits without limit for room, 0 tries once.\n"
     "Raises TimedOut, TooLarge, Removed, Closed, InUse, NoBroker."},
    {"send_many", method(producer_send_many), METH_FASTCALL | METH_KEYWORDS,
     "send_many(records, timeout=None) -> int\n\nSends the records of an iterable in order; the number stored (fewer only where drop-new\n"
     "dropped some). An exception has the number stored before it as its attribute `sent`."},
    {"loan", method(producer_loan), METH_FASTCALL | METH_KEYWORDS,
     "loan(nbytes, timeout=None) -> Loan\n\nMemory of a record to be filled in place: `with producer.loan(n) as view: ...`. Dropped if the\n"
     "stream is drop-new and full."},
    {"finish", producer_finish, METH_NOARGS,
     "Says that nothing more will come from this producer: readers' iteration ends when all have said so.\nSending again takes it back."},
    {"fileno", handle_fileno<ProducerObject, atoll_producer_event_fd>, METH_NOARGS,
     "fileno() -> int\n\nA descriptor for event loops, readable when a send that raised TimedOut may now succeed."},
    {"close", producer_close, METH_NOARGS,
     "Gives the lane back; open loans are aborted. Does not say finish. ViewsLive (a BufferError) while a\nmemoryview or array over a loan lives."},
    {"_send", producer_send_as, METH_VARARGS, nullptr},
    {"_send_parts", producer_send_parts, METH_VARARGS, nullptr},
    {"_info", producer_info, METH_NOARGS, nullptr},
    {"_open", method(producer_open), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"__enter__", handle_enter<ProducerObject>, METH_NOARGS, nullptr},
    {"__exit__", handle_exit<producer_close>, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyTypeObject producer_type = [] {
  PyTypeObject type = new_type("atoll._core.ProducerCore", sizeof(ProducerObject));
  type.tp_dealloc = producer_dealloc;
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE;
  type.tp_methods = producer_methods;
  type.tp_getset = producer_properties;
  type.tp_new = PyType_GenericNew;
  return type;
}();

}  // namespace

bool ready_producer(PyObject* module) { return add_type(module, producer_type); }

}  // namespace atoll_python
