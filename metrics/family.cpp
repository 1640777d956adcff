#include "metrics/family.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace pgjanus::metrics {
namespace {

prometheus::MetricType type_of(Type type) {
  switch (type) {
    case Type::counter: return prometheus::MetricType::Counter;
    case Type::gauge: return prometheus::MetricType::Gauge;
    case Type::histogram: return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

prometheus::ClientMetric metric_of(const Sample& sample, Type type) {
  prometheus::ClientMetric metric;
  for (const auto& [name, value] : sample.labels) {
    prometheus::ClientMetric::Label label;
    label.name = name;
    label.value = value;
    metric.label.push_back(std::move(label));
  }
  switch (type) {
    case Type::counter: metric.counter.value = sample.value; break;
    case Type::gauge: metric.gauge.value = sample.value; break;
    case Type::histogram:
      metric.histogram.sample_sum = sample.sum;
      for (const auto& bucket : sample.buckets) {
        prometheus::ClientMetric::Bucket out;
        out.cumulative_count = bucket.cumulative;
        out.upper_bound = bucket.upper_bound;
        metric.histogram.bucket.push_back(out);
        metric.histogram.sample_count = bucket.cumulative;
      }
  }
  return metric;
}

}  // namespace

std::string render(const std::vector<Family>& families) {
  std::vector<prometheus::MetricFamily> out;
  for (const auto& family : families) {
    if (family.samples.empty()) continue;
    prometheus::MetricFamily made;
    made.name = family.name;
    made.help = family.help;
    made.type = type_of(family.type);
    for (const auto& sample : family.samples) {
      made.metric.push_back(metric_of(sample, family.type));
    }
    out.push_back(std::move(made));
  }
  return prometheus::TextSerializer{}.Serialize(out);
}

}  // namespace pgjanus::metrics
