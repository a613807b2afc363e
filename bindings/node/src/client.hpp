// Connecting to the broker, creating and removing segments, calling the broker, opening handles. All of
// it may wait for the broker, so all of it runs on another thread and gives promises. lib/client.js calls
// these with arguments it has checked.
#pragma once

#include <napi.h>

namespace atoll_node {

void export_client(Napi::Env env, Napi::Object exports);

}  // namespace atoll_node
