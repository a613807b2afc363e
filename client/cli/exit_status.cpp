#include "exit_status.hpp"

namespace atoll_ipc::cli {

int exit_status(Errc code) noexcept {
  switch (code) {
    case Errc::ok:
      return kOk;
    case Errc::timed_out:
    case Errc::lock_stuck:
      return kTimedOut;
    case Errc::ended:
      return kEnded;
    case Errc::invalid_argument:
    case Errc::invalid_name:
    case Errc::invalid_geometry:
    case Errc::wrong_kind:
    case Errc::bad_encoding:
      return kUsage;
    case Errc::unknown_segment:
    case Errc::unknown_group:
    case Errc::removed:
      return kNotFound;
    case Errc::not_permitted:
      return kNotPermitted;
    case Errc::dropped:
    case Errc::no_space:
    case Errc::limit_reached:
    case Errc::too_large:
    case Errc::too_many_lanes:
    case Errc::too_many_groups:
    case Errc::too_many_unacknowledged:
    case Errc::no_descriptors:
      return kNoRoom;
    case Errc::no_broker:
    case Errc::untrusted_broker:
    case Errc::broker_running:
    case Errc::bad_runtime_directory:
    case Errc::socket_path_too_long:
    case Errc::shutting_down:
      return kNoBroker;
    case Errc::in_use:
    case Errc::exists_with_other_options:
    case Errc::group_exclusive:
      return kInUse;
    case Errc::bad_manifest:
    case Errc::bad_header:
    case Errc::truncated_file:
    case Errc::lane_damaged:
    case Errc::group_damaged:
    case Errc::segment_lost:
      return kDamaged;
    case Errc::interrupted:
    case Errc::closed:
    case Errc::wrong_version:
    case Errc::wrong_byte_order:
    case Errc::protocol_error:
    case Errc::forked:
    case Errc::not_supported:
    case Errc::system_error:
    case Errc::view_released:
    case Errc::views_live:
      return kFailed;
  }
  return kFailed;
}

}  // namespace atoll_ipc::cli
