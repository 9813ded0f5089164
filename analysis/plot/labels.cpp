#include "analysis/plot/labels.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace aqlm_exp::plot {

bool overlap(const Box& a, const Box& b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

std::vector<std::optional<PlacedLabel>> place_labels(const std::vector<LabelRequest>& requests,
                                                     const std::vector<Box>& obstacles, const Frame& frame,
                                                     double font_px) {
  constexpr double kNear = 8;       // from a point's centre to its label
  constexpr double kNoLeader = 16;  // labels closer than this need no line
  std::vector<std::optional<PlacedLabel>> placed(requests.size());
  std::vector<Box> taken = obstacles;
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto& [point, text] = requests[i];
    const double width = text_width(text, font_px), height = font_px * 1.1;
    bool done = false;
    for (double distance = kNear; distance <= 56 && !done; distance += 6) {
      // Right, left, above, below, then the diagonals.
      const std::array<Point, 12> directions = {{{1, 0},
                                                 {0.7, -0.7},
                                                 {0.7, 0.7},
                                                 {-1, 0},
                                                 {-0.7, -0.7},
                                                 {-0.7, 0.7},
                                                 {0, -1},
                                                 {0, 1},
                                                 {0.92, -0.38},
                                                 {0.92, 0.38},
                                                 {-0.92, -0.38},
                                                 {-0.92, 0.38}}};
      for (const Point& direction : directions) {
        const double x = point.x + direction.x * distance, y = point.y + direction.y * distance;
        const double left = direction.x > 0.2 ? x : direction.x < -0.2 ? x - width : x - width / 2;
        const double middle = direction.y < -0.9 ? y - height / 2 + 3 : direction.y > 0.9 ? y + height / 2 - 3 : y;
        const Box box{left - 1, middle - height / 2, left + width + 1, middle + height / 2};
        if (box.left < frame.left + 2 || box.right > frame.right + 2 || box.top < frame.top ||
            box.bottom > frame.bottom - 1) {
          continue;
        }
        if (std::any_of(taken.begin(), taken.end(), [&](const Box& other) { return overlap(box, other); })) continue;
        placed[i] =
            PlacedLabel{.baseline = {left, middle + font_px * 0.36}, .box = box, .leader = distance > kNoLeader};
        taken.push_back(box);
        done = true;
        break;
      }
    }
  }
  return placed;
}

}  // namespace aqlm_exp::plot
