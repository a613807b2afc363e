// The extension module atoll._core: the types of the other files, put together. The package's Python files make
// the public classes from them.
#include "core.hpp"

namespace atoll_python {

namespace {

PyObject* library_version(PyObject*, PyObject*) { return PyUnicode_FromString(atoll_version()); }

// What the waits of asyncio take as their limit, by the rule of all the others.
PyObject* seconds(PyObject*, PyObject* timeout) {
  std::int64_t nanoseconds = 0;
  if (!timeout_from(timeout, nanoseconds)) return nullptr;
  if (nanoseconds < 0) Py_RETURN_NONE;
  return PyFloat_FromDouble(static_cast<double>(nanoseconds) / 1e9);
}

PyMethodDef functions[] = {
    {"library_version", library_version, METH_NOARGS, "library_version() -> str\n\nThe version of libatoll inside this module."},
    {"seconds", seconds, METH_O, "seconds(timeout) -> float or None\n\nA time limit checked: None for no limit. InvalidArgument or TypeError if it is none."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = [] {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
  PyModuleDef module = {PyModuleDef_HEAD_INIT};
#pragma GCC diagnostic pop
  module.m_name = "atoll._core";
  module.m_size = -1;
  module.m_methods = functions;
  return module;
}();

}  // namespace

}  // namespace atoll_python

PyMODINIT_FUNC PyInit__core() {
  using namespace atoll_python;
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr) return nullptr;
  for (const auto ready : {ready_client, ready_reader, ready_iterator, ready_message, ready_producer, ready_loan, ready_bytes}) {
    if (ready(module)) continue;
    Py_DECREF(module);
    return nullptr;
  }
  if (load_errors()) return module;
  Py_DECREF(module);
  return nullptr;
}
