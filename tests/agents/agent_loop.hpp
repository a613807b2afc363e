// What the C++ and the C agent share: the loop over JSON lines, hexadecimal text, the pattern.
//
// See README.md here for the operations. An agent is a struct with `json handle(const json& request)`
// that throws Refusal to answer with an error.
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace agent {

using nlohmann::json;

// An error of the library under test.
struct Refusal {
  std::string name;
  int code;
  std::string message, segment, fix;
  std::uint64_t detail;
};

inline std::string to_hex(std::span<const std::byte> data) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(data.size() * 2);
  for (const auto b : data) {
    text += digits[std::to_integer<unsigned>(b) >> 4];
    text += digits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

inline std::vector<std::byte> from_hex(const std::string& text) {
  std::vector<std::byte> data(text.size() / 2);
  const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<std::byte>(digit(text[2 * i]) * 16 + digit(text[2 * i + 1]));
  return data;
}

// The records that send_pattern sends and receive_pattern expects.
class Pattern {
 public:
  Pattern(std::uint64_t seed, std::uint64_t largest) : seed_(seed), largest_(largest), bytes_(4096 + largest) {
    for (std::size_t k = 0; k < bytes_.size(); ++k) {
      const auto t = k % 4096;
      bytes_[k] = static_cast<std::byte>((t * 7 + (t / 256) * 13) % 256);
    }
  }
  [[nodiscard]] std::span<const std::byte> record(std::uint64_t i) const {
    const auto length = static_cast<std::size_t>((i * i * 31 + seed_ * 17) % (largest_ + 1));
    return std::span(bytes_).subspan(static_cast<std::size_t>((i * 37 + seed_) % 4096), length);
  }

 private:
  std::uint64_t seed_, largest_;
  std::vector<std::byte> bytes_;
};

inline std::int64_t nanoseconds(const json& request, const char* field, std::int64_t otherwise_ms) {
  const auto ms = request.value(field, otherwise_ms);
  return ms < 0 ? -1 : ms * 1'000'000;
}

// Opens files until there is no descriptor left.
inline void exhaust_descriptors() {
  while (::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
  }
}

// For tests/faults, which preload a library that lets calls fail: only what an operation does counts, and not what the
// agent does around it.
inline void faults_count(bool count) {
  static const auto scope = reinterpret_cast<void (*)(int)>(::dlsym(RTLD_DEFAULT, "atoll_failing_scope"));
  if (scope != nullptr) scope(count ? 1 : 0);
}

template <class Agent>
json answer_to(Agent& agent, const json& request);

// Forks; the child carries out the request with what it has from its parent, and its answer is the answer.
template <class Agent>
json answer_of_child(Agent& agent, const json& request) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string text = answer_to(agent, request).dump(-1, ' ', false, json::error_handler_t::replace);
    ::_exit(::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return json::parse(text);
}

// Forks; the child has all that its parent has, does nothing, and stays until it is killed.
inline json fork_and_stay() {
  const pid_t child = ::fork();
  while (child == 0) ::pause();
  return {{"pid", child}};
}

template <class Agent>
json answer_to(Agent& agent, const json& request) {
  json answer;
  try {
    if (request.at("op") == "fork_and_stay") return {{"ok", fork_and_stay()}};
    if (request.at("op") == "in_child") return answer_of_child(agent, request.at("request"));
    faults_count(true);
    json result = agent.handle(request);
    faults_count(false);
    answer["ok"] = std::move(result);
  } catch (const Refusal& refusal) {
    faults_count(false);
    answer["error"] = {{"name", refusal.name},       {"code", refusal.code}, {"message", refusal.message},
                       {"segment", refusal.segment}, {"fix", refusal.fix},   {"detail", refusal.detail}};
  } catch (const std::exception& error) {
    faults_count(false);
    answer["broken"] = error.what();  // a defect of the test itself
  }
  return answer;
}

template <class Agent>
int run(Agent& agent) {
  std::ios::sync_with_stdio(false);
  faults_count(false);
  for (std::string line; std::getline(std::cin, line);)
    std::cout << answer_to(agent, json::parse(line)).dump(-1, ' ', false, json::error_handler_t::replace) << '\n' << std::flush;
  return 0;
}

}  // namespace agent
