// ClientCore: what atoll.Client is made of: a connection to the broker.
//
// Calls of several threads may be under way at once; the connection ends when it is closed and the last of them is
// over. What was opened from it does not need it.
#include <new>

#include "core.hpp"

namespace atoll_python {

namespace {

extern PyTypeObject client_type;

struct ClientObject {
  PyObject_HEAD
  std::shared_ptr<atoll_client> connection;  // null once closed
  std::int64_t limit_ns;                     // of a call; -1: none
};

ClientObject* cast(PyObject* self) { return reinterpret_cast<ClientObject*>(self); }

// Lets go of the connection; who is inside a call keeps it until that is over.
void shut(ClientObject* client) {
  std::shared_ptr<atoll_client> connection = std::move(client->connection);
  if (connection != nullptr) without_gil([&] { connection.reset(); });
}

// The arguments by name and position: see _core.pyi.
PyObject* client_new(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"socket", "atolld", "start_broker", "timeout", nullptr};
  PyObject *socket = nullptr, *atolld = nullptr, *timeout = nullptr;
  int start_broker = 0;
  atoll_connect_options options = ATOLL_CONNECT_OPTIONS_INIT;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OOpO:ClientCore", const_cast<char**>(names), &socket, &atolld, &start_broker, &timeout) ||
      !text_or_none_from(socket, "socket", ATOLL_INVALID_ARGUMENT, options.socket_path) ||
      !text_or_none_from(atolld, "atolld", ATOLL_INVALID_ARGUMENT, options.atolld_path) || !timeout_from(timeout, options.timeout_ns))
    return nullptr;
  options.flags = ATOLL_CONNECT_INTERRUPTIBLE | (start_broker != 0 ? 0u : ATOLL_CONNECT_NO_START);
  options.language = "Python";
  if (options.timeout_ns == 0) options.timeout_ns = 1;  // 0 would mean 10 s; -1 is no limit
  atoll_client* connection = nullptr;
  if (!control([&](Error* error) { return atoll_client_connect(&options, &connection, error); }, options.timeout_ns)) return nullptr;
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) {
    atoll_client_close(connection);
    return nullptr;
  }
  new (&cast(self)->connection) std::shared_ptr<atoll_client>();
  cast(self)->limit_ns = options.timeout_ns;
  try {
    cast(self)->connection.reset(connection, atoll_client_close);
  } catch (const std::bad_alloc&) {  // the connection was closed by that
    Py_DECREF(self);
    return PyErr_NoMemory();
  }
  return self;
}

void client_dealloc(PyObject* self) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  shut(cast(self));
  PyErr_Restore(type, value, traceback);
  cast(self)->connection.~shared_ptr();
  Py_TYPE(self)->tp_free(self);
}

PyObject* client_create(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"name", "kind", "backing", "when_full", "capacity", "alignment", "size", "put_size", "directory", "access", nullptr};
  PyObject *name_object = nullptr, *capacity_object = nullptr, *alignment_object = nullptr, *size_object = nullptr, *put_size_object = nullptr,
           *directory = nullptr, *access = nullptr;
  const char* name = nullptr;
  atoll_create_options options = ATOLL_CREATE_OPTIONS_INIT;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O$IIIOOOOOO:create", const_cast<char**>(names), &name_object, &options.kind,
                                   &options.backing, &options.when_full, &capacity_object, &alignment_object, &size_object, &put_size_object,
                                   &directory, &access))
    return nullptr;
  // None is 0, the library's default.
  constexpr unsigned long long kMost = std::numeric_limits<std::int64_t>::max();
  const auto number = [](PyObject* object, const char* what, unsigned long long most, unsigned long long& value) {
    return object == Py_None || unsigned_from(object, what, value, most);
  };
  unsigned long long capacity = 0, alignment = 0, size = 0, put_size = 0;
  if (!text_from(name_object, "name", ATOLL_INVALID_NAME, name) || !number(capacity_object, "capacity", kMost, capacity) ||
      !number(alignment_object, "alignment", std::numeric_limits<std::uint32_t>::max(), alignment) || !number(size_object, "size", kMost, size) ||
      !number(put_size_object, "put_size", kMost, put_size) ||
      !text_or_none_from(directory, "directory", ATOLL_INVALID_ARGUMENT, options.directory) ||
      !text_or_none_from(access, "access", ATOLL_INVALID_ARGUMENT, options.access))
    return nullptr;
  options.capacity = capacity;
  options.alignment = static_cast<std::uint32_t>(alignment);
  options.size = size;
  options.put_size = static_cast<std::int64_t>(put_size);
  if (put_size == 0 && put_size_object != Py_None) options.put_size = -1;  // no put at all
  const std::shared_ptr<atoll_client> connection = client_of(self);
  if (connection == nullptr) return nullptr;
  int created = 0;
  if (!control([&](Error* error) { return atoll_client_create(connection.get(), name, &options, &created, error); }, cast(self)->limit_ns)) return nullptr;
  return PyBool_FromLong(created);
}

PyObject* client_call(PyObject* self, PyObject* arguments) {
  PyObject *method_object = nullptr, *parameters_object = nullptr;
  const char *method = nullptr, *parameters = nullptr;
  if (!PyArg_ParseTuple(arguments, "OO:call", &method_object, &parameters_object) ||
      !text_from(method_object, "method", ATOLL_INVALID_ARGUMENT, method) ||
      !text_from(parameters_object, "parameters", ATOLL_INVALID_ARGUMENT, parameters))
    return nullptr;
  const std::shared_ptr<atoll_client> connection = client_of(self);
  if (connection == nullptr) return nullptr;
  char* reply = nullptr;
  if (!control([&](Error* error) { return atoll_client_call(connection.get(), method, parameters, &reply, error); }, cast(self)->limit_ns)) return nullptr;
  PyObject* text = PyUnicode_FromString(reply);
  atoll_string_free(reply);
  return text;
}

PyObject* client_close(PyObject* self, PyObject*) {
  shut(cast(self));
  Py_RETURN_NONE;
}

PyObject* client_closed(PyObject* self, void*) { return PyBool_FromLong(cast(self)->connection == nullptr); }

PyGetSetDef client_properties[] = {
    {"closed", client_closed, nullptr, "True once close() was called.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef client_methods[] = {
    {"create", method(client_create), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"call", client_call, METH_VARARGS, nullptr},
    {"close", client_close, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyTypeObject client_type = [] {
  PyTypeObject type = new_type("atoll._core.ClientCore", sizeof(ClientObject));
  type.tp_dealloc = client_dealloc;
  type.tp_flags = Py_TPFLAGS_DEFAULT;
  type.tp_methods = client_methods;
  type.tp_getset = client_properties;
  type.tp_new = client_new;
  return type;
}();

}  // namespace

std::shared_ptr<atoll_client> client_of(PyObject* core) {
  if (!PyObject_TypeCheck(core, &client_type)) {
    PyErr_Format(PyExc_TypeError, "a ClientCore is needed, not %.100s", Py_TYPE(core)->tp_name);
    return nullptr;
  }
  if (cast(core)->connection == nullptr) set_error(ATOLL_CLOSED, "this client was closed", "connect again");
  return cast(core)->connection;
}

bool ready_client(PyObject* module) { return add_type(module, client_type); }

}  // namespace atoll_python
