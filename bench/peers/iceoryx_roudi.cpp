// RouDi, iceoryx's daemon, with memory for every size that the benchmark sends (Debian has the library,
// not the program). bench/run starts it for the time of a measurement and ends it with SIGTERM.
#include <iceoryx_hoofs/posix_wrapper/signal_watcher.hpp>
#include <iceoryx_posh/iceoryx_posh_types.hpp>
#include <iceoryx_posh/internal/roudi/roudi.hpp>
#include <iceoryx_posh/roudi/iceoryx_roudi_components.hpp>

#include <cstdio>

int main() {
  iox::RouDiConfig_t config;
  iox::mepoo::MePooConfig pools;
  for (const auto& [size, count] : {std::pair<std::uint32_t, std::uint32_t>{256, 2048}, {2048, 2048}, {(1u << 16) + 256, 300}, {(1u << 20) + 256, 60}})
    pools.addMemPool({size, count});
  config.m_sharedMemorySegments.push_back({iox::posix::PosixGroup::getGroupOfCurrentProcess().getName(),
                                           iox::posix::PosixGroup::getGroupOfCurrentProcess().getName(), pools});
  iox::roudi::IceOryxRouDiComponents components(config);
  iox::roudi::RouDi roudi(components.rouDiMemoryManager, components.portManager,
                          iox::roudi::RouDi::RoudiStartupParameters{iox::roudi::MonitoringMode::OFF, false});
  std::puts("ready");
  std::fflush(stdout);
  iox::posix::waitForTerminationRequest();
  return 0;
}
