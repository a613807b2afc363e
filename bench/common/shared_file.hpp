// A file in shared memory, mapped and touched in full before it is used.
//
// For contenders that make their own ring. The creating side makes the file, the opening side removes
// its name as soon as both have it mapped, so that nothing is left behind however a run ends.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "bench.hpp"

namespace bench {

class SharedFile {
 public:
  SharedFile(const std::string& path, std::size_t size, bool create) : size_(size) {
    const int fd = open(path.c_str(), create ? O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC : O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) fail_errno("cannot open " + path);
    const int error = create ? posix_fallocate(fd, 0, static_cast<off_t>(size)) : 0;
    void* memory = error ? MAP_FAILED : mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    if (!create || memory == MAP_FAILED) unlink(path.c_str());
    if (error) errno = error;
    if (memory == MAP_FAILED) fail_errno("cannot map " + std::to_string(size) + " bytes of " + path);
    data_ = static_cast<std::byte*>(memory);
  }
  SharedFile(SharedFile&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  SharedFile& operator=(SharedFile&&) = delete;
  ~SharedFile() {
    if (data_) munmap(data_, size_);
  }
  [[nodiscard]] std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_;
};

}  // namespace bench
