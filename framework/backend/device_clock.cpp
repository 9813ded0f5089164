#include "framework/backend/device_clock.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>

namespace aqlm_exp::backend {
namespace {

c10::Stream stream_of(at::Device device) { return c10::impl::VirtualGuardImpl(device.type()).getStream(device); }

}  // namespace

void* current_stream(at::Device device) { return stream_of(device).native_handle(); }

void wait_for(at::Device device) {
  if (!device.is_cpu()) stream_of(device).synchronize();
}

struct DeviceClock::State {
  at::Device device;
  std::vector<c10::Event> events;
  std::vector<std::chrono::steady_clock::time_point> times;
};

DeviceClock::DeviceClock(at::Device device) : state_(std::make_unique<State>(State{device, {}, {}})) {}
DeviceClock::~DeviceClock() = default;
DeviceClock::DeviceClock(DeviceClock&&) noexcept = default;
DeviceClock& DeviceClock::operator=(DeviceClock&&) noexcept = default;

void DeviceClock::mark() {
  if (state_->device.is_cpu()) {
    state_->times.push_back(std::chrono::steady_clock::now());
    return;
  }
  state_->events.emplace_back(state_->device.type(), c10::EventFlag::BACKEND_DEFAULT);  // with time stamps
  state_->events.back().record(stream_of(state_->device));
}

std::vector<double> DeviceClock::intervals_s() {
  std::vector<double> out;
  if (state_->device.is_cpu()) {
    for (size_t i = 1; i < state_->times.size(); ++i) {
      out.push_back(std::chrono::duration<double>(state_->times[i] - state_->times[i - 1]).count());
    }
    return out;
  }
  if (!state_->events.empty()) state_->events.back().synchronize();
  for (size_t i = 1; i < state_->events.size(); ++i) {
    out.push_back(state_->events[i - 1].elapsedTime(state_->events[i]) / 1000.0);
  }
  return out;
}

}  // namespace aqlm_exp::backend
