#include "name_policy.hpp"

#include "process.hpp"

namespace atoll_ipc::daemon {

Result<NamePolicy> NamePolicy::make(const std::vector<std::string>& prefixes) {
  NamePolicy policy;
  for (const std::string& text : prefixes) {
    const auto colon = text.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == text.size())
      return fail(Errc::invalid_argument, "name-prefix '" + text + "' is not USER:PREFIX", {}, 0, "write for example alice:sensors/ or *:public/");
    policy.prefixes_.emplace_back(text.substr(0, colon), text.substr(colon + 1));
  }
  return policy;
}

Result<void> NamePolicy::check(const std::string& name, uid_t uid, uid_t broker) const {
  if (prefixes_.empty() || uid == 0 || uid == broker) return {};
  std::vector<std::string> own{user_name(uid) + "/", std::to_string(uid) + "/"};
  for (const auto& [user, prefix] : prefixes_) {
    uid_t named = 0;
    if (user == "*" || (user_id(user, named) && named == uid)) own.push_back(prefix);
  }
  std::string list;
  for (const std::string& prefix : own) {
    if (name.starts_with(prefix)) return {};
    list += (list.empty() ? "" : ", ") + prefix;
  }
  return fail(Errc::not_permitted, "user " + user_name(uid) + " may not create '" + name + "': its names start with one of " + list, name, uid,
              "create '" + own.front() + name + "', or have the operator grant a prefix (name-prefix)");
}

}  // namespace atoll_ipc::daemon
