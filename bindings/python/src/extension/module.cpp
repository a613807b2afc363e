// The extension module atoll._core: the types of the other files, put together. The package's Python files make
// the public classes from them.
#include "core.hpp"

namespace atoll_python {

namespace {

PyObject* library_version(PyObject*, PyObject*) { return PyUnicode_FromString(atoll_version()); }

PyMethodDef functions[] = {
    {"library_version", library_version, METH_NOARGS, "library_version() -> str\n\nThe version of libatoll inside this module."},
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
  for (const auto ready : {ready_client, ready_reader, ready_message, ready_producer, ready_loan, ready_bytes}) {
    if (ready(module)) continue;
    Py_DECREF(module);
    return nullptr;
  }
  if (load_errors()) return module;
  Py_DECREF(module);
  return nullptr;
}
