// The files of a segment: making them with their header pages, opening and checking them, mapping them.
//
// Called by the segment store, lanes, groups and recovery. A file that is opened is checked against
// the manifest every time: another process may have changed it since.
#pragma once

#include <memory>
#include <span>

#include "result.hpp"
#include "segment.hpp"

namespace atoll_ipc::daemon {

// The first 128 bytes of a file of this segment.
protocol::HeaderPage make_header_page(const protocol::Manifest& manifest, const protocol::ManifestFile& file);

// `<what> of '<segment>'`, for messages.
std::string describe(const Segment& segment, const protocol::ManifestFile& file);

// Makes `file`, reserves it, writes `content` at its start and sets its path. The caller adds it to the
// manifest.
Result<UniqueFd> create_segment_file(Segment& segment, protocol::ManifestFile& file, std::span<const std::byte> content);
void remove_segment_file(Segment& segment, const protocol::ManifestFile& file) noexcept;

// Opened anew, with its own mode, and checked (truncated_file, bad_header, wrong_version, ...).
Result<UniqueFd> open_segment_file(const Segment& segment, const protocol::ManifestFile& file, bool writable);

// What its files take in memory or on disk.
std::uint64_t resident_bytes(const Segment& segment);

// The whole file, read-write. A memfd lane's lasting mapping is shared.
Result<std::shared_ptr<Mapping>> map_segment_file(Segment& segment, const protocol::ManifestFile& file);

// Maps header and bell. After adoption.
Result<void> map_control_files(Segment& segment);

// Makes and maps header and bell, or data and bell, of a new segment. The manifest's files are filled in.
Result<void> create_control_files(Segment& segment);

// Content of a put starts here.
std::uint64_t staging_offset(const protocol::Manifest& manifest) noexcept;

}  // namespace atoll_ipc::daemon
