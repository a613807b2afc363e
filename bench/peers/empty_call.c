/* An extension for Python whose function takes one argument and does nothing: what a call costs at least.
 *
 * Built by bench/run into <build>/bench and called by atoll/alone.py --variant empty. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *empty(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
  (void)self, (void)arguments, (void)count;
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"empty", (PyCFunction)(void (*)(void))empty, METH_FASTCALL, "Does nothing."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "empty_call", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_empty_call(void) { return PyModule_Create(&module); }
