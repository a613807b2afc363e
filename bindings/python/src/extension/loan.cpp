// Loan: a record's memory given to the program to fill in place, then committed or aborted.
//
//   with producer.loan(4096) as view:
//       view[:5] = b"hello"          # committed at the end of the block, aborted if it raises
//
// After that the memory belongs to readers or to the next record, so no memoryview may outlive the loan:
// commit and abort are refused (ViewsLive) while one does.
#include "producer.hpp"

namespace atoll_python {

namespace {

extern PyTypeObject loan_type;

LoanObject* cast(PyObject* self) { return reinterpret_cast<LoanObject*>(self); }

bool usable(LoanObject* loan) {
  if (loan->open && !loan->doomed && loan->generation == forks) return true;
  if (loan->open && loan->generation != forks)
    set_error(ATOLL_FORKED, "this loan is the parent process's", "take a loan in the child");
  else
    set_error(ATOLL_INVALID_ARGUMENT, "this loan was committed or aborted already", "take a new one with loan()");
  return false;
}

// Aborts without raising: from the garbage collector, or when the last view of a doomed loan goes.
void let_go(LoanObject* loan) {
  ProducerObject* producer = loan->producer;
  const bool ours = loan->open && loan->generation == forks && producer->gate.open;
  loan_forget(loan);
  if (!ours) return;
  if (producer->gate.busy) {
    try {
      if (producer->later == nullptr) producer->later = new std::vector<atoll_loan>;
      producer->later->push_back(loan->loan);
    } catch (const std::bad_alloc&) {
      return;  // stays open until the producer is closed
    }
  } else {
    Error error;
    atoll_producer_abort(producer->handle, &loan->loan, &error);
  }
}

void loan_dealloc(PyObject* self) {
  LoanObject* loan = cast(self);
  Py_CLEAR(loan->entered);
  let_go(loan);
  Py_DECREF(loan->producer);
  PyObject_Free(loan);
}

int loan_get_buffer(PyObject* self, Py_buffer* out, int flags) {
  LoanObject* loan = cast(self);
  out->obj = nullptr;
  if (!usable(loan)) return -1;
  static char nothing[1];
  void* data = loan->loan.data == nullptr ? nothing : loan->loan.data;
  if (PyBuffer_FillInfo(out, self, data, static_cast<Py_ssize_t>(loan->loan.length), 0, flags) != 0) return -1;
  ++loan->exports;
  ++loan->producer->exports;
  return 0;
}

void loan_release_buffer(PyObject* self, Py_buffer*) {
  LoanObject* loan = cast(self);
  --loan->exports;
  if (loan->generation == loan->producer->gate.generation) --loan->producer->exports;
  if (loan->doomed && loan->exports == 0) let_go(loan);
}

// The memoryview that `with` or `.view` gave out, if it is still there: a new reference or null.
PyObject* view_given(LoanObject* loan) {
  if (loan->entered == nullptr) return nullptr;
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* view = nullptr;
  return PyWeakref_GetRef(loan->entered, &view) == 1 ? view : nullptr;
#else
  PyObject* view = PyWeakref_GetObject(loan->entered);  // borrowed
  if (view == nullptr || view == Py_None) return nullptr;
  Py_INCREF(view);
  return view;
#endif
}

// Releases the memoryview that `with` or `.view` gave out, so that only others count.
void release_own_view(LoanObject* loan) {
  PyObject* view = view_given(loan);
  if (view != nullptr) {
    PyObject* done = PyObject_CallMethod(view, "release", nullptr);
    if (done == nullptr) PyErr_Clear();  // somebody looks through it: exports says so
    Py_XDECREF(done);
    Py_DECREF(view);
  }
  Py_CLEAR(loan->entered);
}

PyObject* settle(LoanObject* loan, bool commit) {
  if (!usable(loan)) return nullptr;
  release_own_view(loan);
  if (loan->exports > 0) {
    set_error(ATOLL_VIEWS_LIVE, "a memoryview or array over the loan is still in use",
              "delete it (del array) before the loan is committed or aborted");
    return nullptr;
  }
  ProducerObject* producer = loan->producer;
  if (!enter(reinterpret_cast<PyObject*>(producer), producer->gate)) return nullptr;
  Error error;
  const atoll_status status = commit ? atoll_producer_commit(producer->handle, &loan->loan, &error)
                                     : atoll_producer_abort(producer->handle, &loan->loan, &error);
  if (status != ATOLL_OK) {
    set_error(status, error);
    return nullptr;
  }
  loan_forget(loan);
  Py_RETURN_NONE;
}

PyObject* loan_commit(PyObject* self, PyObject*) { return settle(cast(self), true); }
PyObject* loan_abort(PyObject* self, PyObject*) { return settle(cast(self), false); }

PyObject* loan_view(PyObject* self, void*) {
  LoanObject* loan = cast(self);
  if (!usable(loan)) return nullptr;
  PyObject* view = view_given(loan);
  if (view != nullptr) return view;
  Py_CLEAR(loan->entered);
  view = PyMemoryView_FromObject(self);
  if (view == nullptr) return nullptr;
  loan->entered = PyWeakref_NewRef(view, nullptr);
  if (loan->entered == nullptr) Py_CLEAR(view);
  return view;
}

PyObject* loan_enter(PyObject* self, PyObject*) { return loan_view(self, nullptr); }

PyObject* loan_exit(PyObject* self, PyObject* arguments) {
  LoanObject* loan = cast(self);
  if (!loan->open || loan->doomed) Py_RETURN_NONE;  // settled inside the block
  const bool well = PyTuple_GET_SIZE(arguments) == 0 || PyTuple_GET_ITEM(arguments, 0) == Py_None;
  PyObject* result = settle(loan, well);
  if (result != nullptr) return result;
  if (!loan->open || loan->generation != forks) return nullptr;
  // Views are left: never committed, and given back when the last of them goes.
  if (loan->exports > 0)
    loan->doomed = true;
  else
    return nullptr;
  if (well) return nullptr;
  PyErr_Clear();  // the block's own exception matters more
  Py_RETURN_NONE;
}

Py_ssize_t loan_length(PyObject* self) { return static_cast<Py_ssize_t>(cast(self)->loan.length); }

PyGetSetDef loan_properties[] = {
    {"view", loan_view, nullptr, "The writable memoryview of the record's payload; released by commit and abort.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef loan_methods[] = {
    {"commit", loan_commit, METH_NOARGS, "Publishes the record. ViewsLive (a BufferError) while a memoryview or array over it lives."},
    {"abort", loan_abort, METH_NOARGS, "Gives the loan back: readers never see it."},
    {"__enter__", loan_enter, METH_NOARGS, nullptr},
    {"__exit__", loan_exit, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyBufferProcs loan_buffer = {loan_get_buffer, loan_release_buffer};

PySequenceMethods loan_sequence = [] {
  PySequenceMethods methods{};
  methods.sq_length = loan_length;
  return methods;
}();

PyTypeObject loan_type = [] {
  PyTypeObject type = new_type("atoll.Loan", sizeof(LoanObject));
  type.tp_dealloc = loan_dealloc;
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  type.tp_doc =
      "A record's payload memory, to be filled in place.\n\n"
      "As a context manager it gives a writable memoryview; the record is committed at the end of the block\n"
      "and aborted if the block raises. Several loans may be open; readers see records in the order of the loans.";
  type.tp_methods = loan_methods;
  type.tp_getset = loan_properties;
  type.tp_as_buffer = &loan_buffer;
  type.tp_as_sequence = &loan_sequence;
  return type;
}();

}  // namespace

void loan_forget(LoanObject* loan) noexcept {
  if (!loan->open) return;
  loan->open = false;
  if (loan->previous != nullptr)
    loan->previous->next = loan->next;
  else
    loan->producer->loans = loan->next;
  if (loan->next != nullptr) loan->next->previous = loan->previous;
}

PyObject* loan_new(ProducerObject* producer, const atoll_loan& lent) {
  LoanObject* loan = PyObject_New(LoanObject, &loan_type);
  if (loan == nullptr) {
    Error error;
    atoll_producer_abort(producer->handle, &lent, &error);
    return nullptr;
  }
  Py_INCREF(producer);
  loan->producer = producer;
  loan->entered = nullptr;
  loan->exports = 0;
  loan->generation = producer->gate.generation;
  loan->open = true;
  loan->doomed = false;
  loan->loan = lent;
  loan->previous = nullptr;
  loan->next = producer->loans;
  if (producer->loans != nullptr) producer->loans->previous = loan;
  producer->loans = loan;
  return reinterpret_cast<PyObject*>(loan);
}

bool ready_loan(PyObject* module) { return add_type(module, loan_type); }

}  // namespace atoll_python
