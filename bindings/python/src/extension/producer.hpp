// ProducerCore, what atoll.Producer is made of, and Loan, a record to be filled in place.
//
// A loan that is garbage-collected is aborted, from whatever thread; if the producer is busy in
// another thread just then, that is left for it to do (`later`).
#pragma once

#include <vector>

#include "core.hpp"

namespace atoll_python {

struct LoanObject;

struct ProducerObject {
  PyObject_HEAD
  atoll_producer* handle;
  Gate gate;
  bool drop_new;
  std::int64_t slice;              // of the wait that is under way
  LoanObject* loans;               // list of the open ones
  Py_ssize_t exports;              // memoryviews over them
  std::vector<atoll_loan>* later;  // to be aborted; null: never any
};

struct LoanObject {
  PyObject_HEAD
  ProducerObject* producer;  // a strong reference
  LoanObject* previous;
  LoanObject* next;
  PyObject* entered;  // a weak reference to the memoryview that `with` gave out, which refers to the loan
  Py_ssize_t exports;
  std::uint32_t generation;
  bool open;
  bool doomed;  // to be aborted when the last memoryview goes
  atoll_loan loan;
};

// A new reference; null with an exception set (the loan is then aborted).
PyObject* loan_new(ProducerObject* producer, const atoll_loan& loan);
// Takes a loan off its producer's list without telling the library.
void loan_forget(LoanObject* loan) noexcept;

}  // namespace atoll_python
