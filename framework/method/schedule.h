// In what order the parts of the additive quantiser work on a layer: "(D L S)*5 I".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace aqlm_exp::method {

/// A letter, or a group of steps with a count.
///   D  the encoder chooses codes            I  the refiner improves codes
///   L  the tuner improves the codebooks     S  the scale tuner improves the scales
struct ScheduleStep {
  char letter = 0;                  ///< 'D', 'I', 'L' or 'S'; 0: a group
  std::vector<ScheduleStep> steps;  ///< of a group
  int64_t count = 1;                ///< of a group; kUntilTolerance: until a repetition lowers the loss too little
  static constexpr int64_t kUntilTolerance = -1;
};

/// Grammar: steps are letters and groups in round brackets, blanks between them are free; a letter or group may be
/// followed by *N (N from 1 to 100000), a group also by * alone: until the tolerance is met.
/// @throws ConfigError showing the text and the place in it
std::vector<ScheduleStep> parse_schedule(const std::string& text);

/// Whether `letter` occurs.
bool uses_step(const std::vector<ScheduleStep>& steps, char letter);

}  // namespace aqlm_exp::method
