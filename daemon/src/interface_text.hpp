// The interfaces' own descriptions, for org.varlink.service.GetInterfaceDescription.
#pragma once

namespace atoll_ipc::daemon {

// protocol/dev.atoll.Broker.varlink, built in.
extern const char* const kInterfaceText;
extern const char* const kServiceText;

}  // namespace atoll_ipc::daemon
