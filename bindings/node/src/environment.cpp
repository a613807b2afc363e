// See environment.hpp.
#include "environment.hpp"

#include <vector>

namespace atoll_node {

Handle::Handle(Environment& environment) : environment_(environment), id_(environment.add(this)) {
  wake_ = std::make_shared<WakeContext>(WakeContext{environment.wake_function(), id_});
}

void Handle::abandon() {
  const auto close = take();
  if (!close) return;  // closed before; the environment may be gone
  environment_.remove(id_);
  close();
}

Environment& Environment::of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return *static_cast<Environment*>(data);
}

void Environment::start(Napi::Env env) {
  auto* environment = new Environment(env);
  napi_set_instance_data(env, environment, [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); },
                         nullptr);
  // Hooks run in reverse order: ours, registered after the thread-safe function, before its own. So no
  // notification can meet a function that is gone.
  napi_add_env_cleanup_hook(env, &Environment::end, environment);
}

Environment::Environment(Napi::Env env) : env_(env) {
  napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "atoll"), 0, 1, nullptr, nullptr, this,
                                  &Environment::call_listener, &wake_function_);
  napi_unref_threadsafe_function(env, wake_function_);
}

void Environment::end(void* self) {
  auto* environment = static_cast<Environment*>(self);
  environment->ended_ = true;
  std::vector<Handle*> open;
  for (const auto& [id, handle] : environment->handles_) open.push_back(handle);
  environment->handles_.clear();
  for (Handle* handle : open) {
    if (const auto close = handle->take()) close();
  }
  napi_release_threadsafe_function(environment->wake_function_, napi_tsfn_abort);
  environment->listener_.Reset();
}

std::uint32_t Environment::add(Handle* handle) {
  do {
    ++next_id_;
  } while (next_id_ == 0 || handles_.count(next_id_) != 0);
  handles_.emplace(next_id_, handle);
  return next_id_;
}

void Environment::wake(void* context) {
  const auto* wake = static_cast<Handle::WakeContext*>(context);
  // The number travels, not a pointer: the handle may be closed before the call arrives.
  napi_call_threadsafe_function(wake->function, reinterpret_cast<void*>(static_cast<std::uintptr_t>(wake->id)),
                                napi_tsfn_nonblocking);
}

void Environment::call_listener(napi_env env, napi_value, void* context, void* data) {
  auto* environment = static_cast<Environment*>(context);
  if (env == nullptr || environment->ended_ || environment->listener_.IsEmpty()) return;
  const auto id = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(data));
  if (environment->handles_.count(id) == 0) return;
  // Plain calls, whose failure is no C++ exception: an environment that is being taken down refuses them. What the
  // listener throws stays pending, and is then Node's to report.
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value listener = nullptr;
  napi_value receiver = nullptr;
  napi_value number = nullptr;
  if (napi_get_reference_value(env, environment->listener_, &listener) == napi_ok && listener != nullptr &&
      napi_get_undefined(env, &receiver) == napi_ok && napi_create_uint32(env, id, &number) == napi_ok) {
    napi_call_function(env, receiver, listener, 1, &number, nullptr);
  }
  napi_close_handle_scope(env, scope);
}

void Environment::hold() { napi_ref_threadsafe_function(env_, wake_function_); }
void Environment::let_go() { napi_unref_threadsafe_function(env_, wake_function_); }

atoll_error* Environment::fresh_error() {
  error_.struct_size = sizeof(atoll_error);
  return &error_;
}

namespace {

struct Nothing {};

// Closes on another thread. The work holds the event loop until done, so that an exiting process lets
// go properly.
Napi::Value close_in_background(Napi::Env env, std::function<void()> close) {
  return Task<Nothing>::start(
      env,
      [close = std::move(close)](Nothing&, atoll_error*) {
        close();
        return ATOLL_OK;
      },
      [](Napi::Env e, Nothing&) { return e.Undefined(); });
}

}  // namespace

napi_value to_external(napi_env env, std::unique_ptr<Handle> handle) {
  napi_value external = nullptr;
  const napi_status status = napi_create_external(
      env, handle.get(),
      [](napi_env finalizer_env, void* data, void*) {
        const std::unique_ptr<Handle> owned(static_cast<Handle*>(data));
        if (auto close = owned->take()) {  // never so after the environment's end: that closed everything
          Environment::of(finalizer_env).remove(owned->id());
          Napi::HandleScope scope(finalizer_env);
          close_in_background(finalizer_env, std::move(close));
        }
      },
      nullptr, &external);
  if (status != napi_ok) return nullptr;  // the environment is ending; `handle` closes what it holds
  static_cast<void>(handle.release());
  return external;
}

Napi::Value close_handle(const Napi::CallbackInfo& info) {
  auto& handle = handle_of<Handle>(info.Env(), info[0]);
  auto close = handle.take();
  if (!close) return info.Env().Undefined();
  Environment::of(info.Env()).remove(handle.id());
  return close_in_background(info.Env(), std::move(close));
}

}  // namespace atoll_node
