// What one JavaScript environment (the main thread or a worker) has open, how the library wakes it, and
// how it is taken down. Everything here runs on the environment's own thread, unless it says otherwise.
//
// - Every open handle is listed, so that the end of the environment closes what the program left open.
// - wake() is the library's notification: called on its waiter thread, it sends the handle's number
//   through one thread-safe function per environment to lib/loop.js. That function keeps the process
//   alive only between hold() and let_go(), that is while something in JavaScript waits.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "atoll/atoll.h"
#include "values.hpp"

namespace atoll_node {

class Environment;

// An open producer, consumer or bytes segment. JavaScript holds it as an External.
class Handle {
 public:
  explicit Handle(Environment& environment);
  virtual ~Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  std::uint32_t id() const { return id_; }
  Environment& environment() const { return environment_; }
  // Takes the C handle out and returns what closes it; that may run on any thread. Empty if closed already.
  virtual std::function<void()> take() = 0;
  // Starts the library's notifications for this handle.
  virtual atoll_status set_notify(void (*notify)(void*), void* context, atoll_error* error) = 0;

  // The context of a notification: kept until the notifications are off.
  struct WakeContext {
    napi_threadsafe_function function;
    std::uint32_t id;
  };
  WakeContext* wake_context() const { return wake_.get(); }

 protected:
  // For the destructors of derived classes: closes a handle that never reached JavaScript.
  void abandon();
  std::shared_ptr<WakeContext> wake_;

 private:
  Environment& environment_;
  std::uint32_t id_;
};

class Environment {
 public:
  static Environment& of(napi_env env);
  static void start(Napi::Env env);

  std::uint32_t add(Handle* handle);
  void remove(std::uint32_t id) { handles_.erase(id); }
  bool ended() const { return ended_; }
  napi_threadsafe_function wake_function() const { return wake_function_; }
  static void wake(void* context);  // on the library's waiter thread

  void set_listener(Napi::Function listener) { listener_ = Napi::Persistent(listener); }
  void hold();
  void let_go();

  // The error of the last synchronous call that failed, for lastError().
  atoll_error* fresh_error();
  const atoll_error& last_error() const { return error_; }

 private:
  explicit Environment(Napi::Env env);
  static void call_listener(napi_env env, napi_value function, void* context, void* data);
  static void end(void* self);

  napi_env env_;
  napi_threadsafe_function wake_function_ = nullptr;
  Napi::FunctionReference listener_;
  std::unordered_map<std::uint32_t, Handle*> handles_;
  std::uint32_t next_id_ = 1;
  bool ended_ = false;
  atoll_error error_ = ATOLL_ERROR_INIT;
};

// A handle as JavaScript holds it. Collected without close(): closed in the background.
napi_value to_external(napi_env env, std::unique_ptr<Handle> handle);
// The handle behind a function's argument; lib/ passes the right one.
template <class T>
T& handle_of(napi_env env, napi_value external) {
  void* pointer = nullptr;
  napi_get_value_external(env, external, &pointer);
  return *static_cast<T*>(static_cast<Handle*>(pointer));
}
// closeHandle(handle) -> Promise: the C handle is closed on another thread, as that may talk to the broker.
Napi::Value close_handle(const Napi::CallbackInfo& info);

// Work for another thread with a promise. `Result` of run() goes to finish() on the JavaScript thread, which
// gives the promise's value; an error goes to the promise as error_object(). If the environment has ended
// meanwhile finish() is not called: Result's destructor gives back what was made.
template <class Result>
class Task : public Napi::AsyncWorker {
 public:
  using Run = std::function<atoll_status(Result&, atoll_error*)>;
  using Finish = std::function<Napi::Value(Napi::Env, Result&)>;

  static Napi::Value start(Napi::Env env, Run run, Finish finish) {
    auto* task = new Task(env, std::move(run), std::move(finish));  // deletes itself when done
    const Napi::Value promise = task->deferred_.Promise();
    task->Queue();
    return promise;
  }

 private:
  Task(Napi::Env env, Run run, Finish finish)
      : Napi::AsyncWorker(env, "atoll"), deferred_(Napi::Promise::Deferred::New(env)), run_(std::move(run)),
        finish_(std::move(finish)) {}

  void Execute() override { status_ = run_(result_, &error_); }
  void OnOK() override {
    if (Environment::of(Env()).ended()) return;
    Napi::HandleScope scope(Env());
    if (status_ == ATOLL_OK) {
      deferred_.Resolve(finish_(Env(), result_));
    } else {
      deferred_.Reject(error_object(Env(), error_));
    }
  }

  Napi::Promise::Deferred deferred_;
  Run run_;
  Finish finish_;
  Result result_{};
  atoll_status status_ = ATOLL_OK;
  atoll_error error_ = ATOLL_ERROR_INIT;
};

}  // namespace atoll_node
