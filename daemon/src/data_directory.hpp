// The directories in which `file` segments lie. Brokers with runtime directories of their own may be told of the same one.
//
// Called by the segment store. Who holds the claim is the only broker that touches what lies there; a claim lasts as long
// as the directory's descriptor. Beside the data lie manifest.json and `boot`: the boot of the machine in which the data
// was last claimed, and so might still be written by the clients of another broker, which has died.
#pragma once

#include <optional>
#include <string>

#include "files.hpp"
#include "segment.hpp"

namespace atoll_ipc::daemon {

// The directory above: any that exists.
Result<UniqueFd> open_data_directory(const std::string& path);

// in_use if another broker has it.
Result<void> claim_directory(const Segment& segment);

// What lies beside the data; nothing if it is missing or no manifest. Fails if it cannot be looked at.
Result<std::optional<protocol::Manifest>> manifest_beside(const UniqueFd& directory);
// Where the data lies now counts, not where it lay when the manifest was written.
void relocate(protocol::Manifest& manifest, const std::string& directory);

[[nodiscard]] bool claimed_in_this_boot(const UniqueFd& directory);
Result<void> note_boot(const UniqueFd& directory);

// Removes the data of the segment `entry` beneath `above`, unless another broker has it or it is of another segment.
// `uuid`: as text; empty where it is not known.
void remove_data(const std::string& above, const std::string& entry, const std::string& uuid);

}  // namespace atoll_ipc::daemon
