// The extension module atoll._core: the connection to the broker (ClientCore), and the types of the
// other files. The package's Python files make the public classes from it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "core.hpp"

namespace nb = nanobind;

namespace atoll_python {

namespace {

// A connection. Calls of several threads may be under way at once; the connection ends when it is
// closed and the last of them is over.
class ClientCore {
 public:
  ClientCore(const std::optional<std::string>& socket, const std::optional<std::string>& atolld, bool start_broker, nb::handle timeout) {
    atoll_connect_options options = ATOLL_CONNECT_OPTIONS_INIT;
    options.flags = ATOLL_CONNECT_INTERRUPTIBLE | (start_broker ? 0u : ATOLL_CONNECT_NO_START);
    options.socket_path = socket ? socket->c_str() : nullptr;
    options.atolld_path = atolld ? atolld->c_str() : nullptr;
    options.language = "Python";
    if (!timeout_from(timeout.ptr(), options.timeout_ns)) throw nb::python_error();
    if (options.timeout_ns == 0) options.timeout_ns = 1;  // 0 would mean 10 s
    atoll_client* client = nullptr;
    check(control([&](Error* error) { return atoll_client_connect(&options, &client, error); }));
    client_ = std::shared_ptr<atoll_client>(client, atoll_client_close);
  }

  bool create(const std::string& name, std::uint32_t kind, std::uint32_t backing, std::uint32_t when_full, std::uint64_t capacity,
              std::uint32_t alignment, std::uint64_t size, std::int64_t put_size, const std::optional<std::string>& directory,
              const std::optional<std::string>& access) {
    atoll_create_options options = ATOLL_CREATE_OPTIONS_INIT;
    options.kind = kind;
    options.backing = backing;
    options.when_full = when_full;
    options.capacity = capacity;
    options.alignment = alignment;
    options.size = size;
    options.put_size = put_size;
    options.directory = directory ? directory->c_str() : nullptr;
    options.access = access ? access->c_str() : nullptr;
    int created = 0;
    const auto client = get();
    check(control([&](Error* error) { return atoll_client_create(client.get(), name.c_str(), &options, &created, error); }));
    return created != 0;
  }

  nb::str call(const std::string& method, const std::string& parameters) {
    char* reply = nullptr;
    const auto client = get();
    check(control([&](Error* error) { return atoll_client_call(client.get(), method.c_str(), parameters.c_str(), &reply, error); }));
    const std::unique_ptr<char, decltype(&atoll_string_free)> owner(reply, atoll_string_free);
    return nb::str(reply);
  }

  void close() {
    std::shared_ptr<atoll_client> client = std::move(client_);
    client_.reset();
    const nb::gil_scoped_release released;
    client.reset();
  }

  [[nodiscard]] std::shared_ptr<atoll_client> get() const {
    if (client_ == nullptr) {
      set_error(ATOLL_CLOSED, "this client was closed", "connect again");
      throw nb::python_error();
    }
    return client_;
  }
  [[nodiscard]] bool closed() const { return client_ == nullptr; }

 private:
  static void check(bool good) {
    if (!good) throw nb::python_error();
  }
  std::shared_ptr<atoll_client> client_;
};

}  // namespace

std::shared_ptr<atoll_client> client_of(PyObject* core) {
  try {
    return nb::cast<ClientCore*>(nb::handle(core))->get();
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const std::exception&) {
    PyErr_SetString(PyExc_TypeError, "a ClientCore is needed");
  }
  return nullptr;
}

}  // namespace atoll_python

NB_MODULE(_core, m) {
  using namespace atoll_python;
  nb::set_leak_warnings(false);  // a library prints nothing
  if (!load_errors() || !ready_message(m.ptr()) || !ready_reader(m.ptr()) || !ready_loan(m.ptr()) || !ready_producer(m.ptr()) ||
      !ready_bytes(m.ptr()))
    throw nb::python_error();
  nb::class_<ClientCore>(m, "ClientCore")
      .def(nb::init<const std::optional<std::string>&, const std::optional<std::string>&, bool, nb::handle>(), nb::arg("socket").none(),
           nb::arg("atolld").none(), nb::arg("start_broker"), nb::arg("timeout").none())
      .def("create", &ClientCore::create, nb::arg("name"), nb::kw_only(), nb::arg("kind"), nb::arg("backing"), nb::arg("when_full"),
           nb::arg("capacity"), nb::arg("alignment"), nb::arg("size"), nb::arg("put_size"), nb::arg("directory").none(),
           nb::arg("access").none())
      .def("call", &ClientCore::call, nb::arg("method"), nb::arg("parameters"))
      .def("close", &ClientCore::close)
      .def_prop_ro("closed", &ClientCore::closed);
  m.def("library_version", [] { return atoll_version(); });
}
