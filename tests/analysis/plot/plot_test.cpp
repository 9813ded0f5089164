// Pictures are compared byte by byte with golden files; AQLM_EXP_UPDATE_GOLDEN=1 writes them anew (look at them before
// committing).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>

#include "analysis/plot/bars.h"
#include "analysis/plot/canvas.h"
#include "analysis/plot/curves.h"
#include "analysis/plot/forest.h"
#include "analysis/plot/heatmap.h"
#include "analysis/plot/labels.h"
#include "analysis/plot/scatter.h"
#include "framework/base/rng.h"

namespace aqlm_exp::plot {
namespace {

void expect_golden(const Figure& figure) {
  const std::string path = std::string(AQLM_EXP_SOURCE_DIR) + "/tests/analysis/plot/golden/" + figure.id + ".svg";
  const std::string got = svg_document(figure);
  if (std::getenv("AQLM_EXP_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << got;
    return;
  }
  std::ifstream in(path);
  std::stringstream want;
  want << in.rdbuf();
  EXPECT_EQ(got, want.str()) << path;
}

ScatterSpec sample_scatter() {
  ScatterSpec spec{.id = "scatter", .title = "KL against bits", .caption = "A caption."};
  spec.x = {"audited bits per weight", "bits"};
  spec.y = {"KL", "nats/token"};
  spec.log_y = true;
  spec.series = {"AQLM", "GPTQ", "AWQ", "HQQ", "RTN"};
  const double xs[] = {2.09, 2.14, 2.64, 3.11, 3.15, 3.15, 4.14, 4.16, 4.25};
  const double ys[] = {0.536, 1.29, 0.334, 0.176, 0.170, 0.198, 0.066, 0.034, 0.051};
  const size_t series[] = {0, 1, 0, 0, 1, 2, 0, 1, 3};
  const bool front[] = {true, false, true, true, true, false, true, true, false};
  for (size_t i = 0; i < 9; ++i) {
    spec.points.push_back({.x = xs[i],
                           .y = ys[i],
                           .y_low = ys[i] * 0.9,
                           .y_high = ys[i] * 1.1,
                           .series = series[i],
                           .label = spec.series[series[i]] + " <" + std::to_string(i) + ">",
                           .tip = "tip & more",
                           .key = "e" + std::to_string(i),
                           .front = front[i]});
  }
  spec.baseline = 0.02;
  spec.baseline_text = "unquantised";
  return spec;
}

TEST(Figures, ScatterIsGolden) { expect_golden(draw_scatter(sample_scatter())); }

TEST(Figures, CurvesAreGolden) {
  CurvesSpec spec{.id = "curves", .title = "Loss", .caption = "A caption."};
  spec.x = {"step", ""};
  spec.y = {"loss", "nats"};
  spec.log_y = true;
  spec.curves = {{.name = "one",
                  .series = 0,
                  .points = {{.x = 0, .y = 4}, {.x = 10, .y = 1, .low = 0.8, .high = 1.3}, {.x = 20, .y = 0.5}}},
                 {.name = "with a gap",
                  .series = 1,
                  .points = {{.x = 0, .y = 3}, {.x = 10, .y = std::nan("")}, {.x = 20, .y = 2}}}};
  expect_golden(draw_curves(spec));
}

TEST(Figures, CategoriesAreGolden) {
  CurvesSpec spec{.id = "categories", .title = "Effect", .caption = "A caption."};
  spec.x = {"encoder", ""};
  spec.y = {"KL", "nats/token"};
  spec.categories = {"beam_search", "greedy", "a name that is far too long to stand upright"};
  spec.curves = {{.name = "AQLM", .series = 0, .points = {{.x = 0, .y = 1}}},
                 {.name = "B", .series = 3, .points = {{.x = 2, .y = 2}}}};
  expect_golden(draw_curves(spec));
}

TEST(Figures, ForestIsGolden) {
  ForestSpec spec{.id = "forest", .title = "Differences", .caption = "A caption."};
  spec.x = {"KL above the best", "nats/token"};
  spec.rows = {{.label = "AQLM 2x7", .value = 0, .series = 0, .reference = true, .text = "best: 0.536"},
               {.label = "GPTQ", .value = 0.01, .low = -0.02, .high = 0.04, .series = 1, .tie = true, .text = "+0.010"},
               {.label = "RTN", .value = 0.7, .low = 0.6, .high = 0.8, .series = 4, .text = "+0.70 [0.60, 0.80]"}};
  expect_golden(draw_forest(spec));
}

TEST(Figures, HeatMapIsGolden) {
  HeatMapSpec spec{.id = "heatmap", .title = "Error", .caption = "A caption."};
  spec.rows = {"0", "1"};
  spec.columns = {"q_proj", "k_proj", "down_proj"};
  spec.values = {0.01, 0.1, 1, 0.03, std::nan(""), 0.3};
  spec.low = 0.01;
  spec.high = 1;
  spec.log = true;
  spec.value = {"relative error", ""};
  expect_golden(draw_heatmap(spec));
}

TEST(Figures, BarsAreGolden) {
  BarsSpec spec{.id = "bars", .title = "Kernels", .caption = "A caption."};
  spec.x = {"time", "µs"};
  spec.bars = {{.heading = "1024 x 1024"},
               {.label = "cuda", .value = 10, .chosen = true, .series = 0, .text = "10"},
               {.label = "generic", .value = 25, .series = 1, .text = "25"},
               {.label = "refused", .series = 2, .text = "wrong by 0.1"}};
  expect_golden(draw_bars(spec));
}

TEST(Figures, EmptyOnesDoNotFail) {
  EXPECT_THAT(draw_scatter({.id = "a"}).svg, testing::HasSubstr("</svg>"));
  EXPECT_THAT(draw_curves({.id = "a"}).svg, testing::HasSubstr("</svg>"));
  EXPECT_THAT(draw_forest({.id = "a"}).svg, testing::HasSubstr("</svg>"));
  EXPECT_THAT(draw_heatmap({.id = "a"}).svg, testing::HasSubstr("</svg>"));
  EXPECT_THAT(draw_bars({.id = "a"}).svg, testing::HasSubstr("</svg>"));
}

TEST(Figures, TextsAreEscaped) {
  ScatterSpec spec = sample_scatter();
  spec.points[0].tip = "</title><script>";
  spec.caption = "\" onload=\"x";
  const std::string svg = draw_scatter(spec).svg;
  EXPECT_THAT(svg, testing::Not(testing::HasSubstr("<script>")));
  EXPECT_THAT(svg, testing::Not(testing::HasSubstr("\" onload")));
}

TEST(Labels, NeverCoverEachOtherOrAPoint) {
  Rng rng(5);
  const Frame frame{.left = 60, .top = 30, .right = 500, .bottom = 330};
  for (int round = 0; round < 50; ++round) {
    std::vector<LabelRequest> requests;
    std::vector<Box> obstacles;
    for (int i = 0; i < 30; ++i) {
      const Point point{frame.left + rng.uniform() * 440, frame.top + rng.uniform() * 300};
      requests.push_back({point, "AQLM 2x7 g8"});
      obstacles.push_back({point.x - 6, point.y - 6, point.x + 6, point.y + 6});
    }
    const auto placed = place_labels(requests, obstacles, frame, 11.5);
    size_t num_placed = 0;
    for (size_t i = 0; i < placed.size(); ++i) {
      if (!placed[i]) continue;
      ++num_placed;
      EXPECT_GE(placed[i]->box.left, frame.left);
      for (const Box& obstacle : obstacles) EXPECT_FALSE(overlap(placed[i]->box, obstacle));
      for (size_t j = 0; j < i; ++j) {
        EXPECT_FALSE(placed[j] && overlap(placed[i]->box, placed[j]->box));
      }
    }
    EXPECT_GT(num_placed, 15u);
  }
}

TEST(Scale, TicksAreRoundAndInRange) {
  Rng rng(6);
  for (int round = 0; round < 500; ++round) {
    const double low = std::pow(10.0, rng.uniform() * 8 - 5), high = low * std::pow(10.0, rng.uniform() * 4 + 1e-3);
    for (const bool log : {false, true}) {
      const Scale scale = Scale::covering({low, high}, log, 0, 400);
      const auto ticks = scale.ticks(6);
      size_t named = 0;
      for (const Tick& tick : ticks) {
        named += tick.text.empty() ? 0 : 1;
        EXPECT_GE(scale.at(tick.value), -1e-6);
        EXPECT_LE(scale.at(tick.value), 400 + 1e-6);
      }
      EXPECT_GE(named, 2u) << low << " " << high << " " << log;
      EXPECT_LE(named, 14u) << low << " " << high << " " << log;
    }
  }
}

TEST(Scale, TickTextsAreShort) {
  EXPECT_EQ(tick_text(0), "0");
  EXPECT_EQ(tick_text(0.05), "0.05");
  EXPECT_EQ(tick_text(-2.5), "−2.5");
  EXPECT_EQ(tick_text(1e-6), "10⁻⁶");
  EXPECT_EQ(tick_text(2e7), "2·10⁷");
}

TEST(Colours, AreTheirEndsAndStayInRange) {
  EXPECT_EQ(sequential_colour(0), "#00224e");
  EXPECT_EQ(sequential_colour(1), "#fee838");
  EXPECT_EQ(sequential_colour(-5), sequential_colour(0));
  EXPECT_EQ(diverging_colour(0.5), "#ececec");
}

double luminance(const std::string& hex) {
  double sum = 0;
  const double weights[] = {0.2126, 0.7152, 0.0722};
  for (size_t i = 0; i < 3; ++i) {
    const double c = std::stoi(hex.substr(i * 2, 2), nullptr, 16) / 255.0;
    sum += weights[i] * (c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4));
  }
  return sum;
}

TEST(Style, TextsHaveContrastInBothThemes) {
  const std::string css = style();
  const std::regex variable("--([a-z0-9]+):#([0-9a-f]{3,6})");
  size_t themes = 0;
  for (size_t at = css.find("--bg:"); at != std::string::npos; at = css.find("--bg:", at + 1)) {
    const std::string block = css.substr(at, css.find('}', at) - at);
    std::map<std::string, std::string> colours;
    for (std::sregex_iterator it(block.begin(), block.end(), variable), end; it != end; ++it) {
      std::string hex = (*it)[2];
      if (hex.size() == 3) hex = {hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]};
      colours[(*it)[1]] = hex;
    }
    const auto contrast = [&](const std::string& name) {
      const double a = luminance(colours.at(name)) + 0.05, b = luminance(colours.at("bg")) + 0.05;
      return std::max(a, b) / std::min(a, b);
    };
    EXPECT_GE(contrast("fg"), 4.5);
    EXPECT_GE(contrast("muted"), 4.5);
    EXPECT_GE(contrast("dom"), 4.5);
    for (const char* mark : {"s0", "s1", "s2", "s3", "s4", "s5", "s6"}) EXPECT_GE(contrast(mark), 1.8) << mark;
    ++themes;
  }
  EXPECT_EQ(themes, 4u) << "light, dark by system, dark by choice, print";
}

}  // namespace
}  // namespace aqlm_exp::plot
