/* An addon for Node whose function takes one argument and does nothing: what a call of Node-API costs at least.
 *
 * Built by bench/run into <build>/bench and called by atoll/alone.mjs --variant empty. */
#include <node_api.h>

static napi_value empty(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  return NULL;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "empty", NAPI_AUTO_LENGTH, empty, NULL, &function);
  return function;
}
