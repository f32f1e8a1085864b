// Calls a model exported by `physgen export run -o shower.onnx` event by event, as a simulation does:
// batch 1, conditions in the units of the truth, noise from the host's generator.
//   generate shower.onnx                     check the example of the card, print ms/event
//   generate shower.onnx 1000 50000          1000 events at the condition 50000 (MeV)
#include <onnxruntime_cxx_api.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <sstream>
#include <string>
#include <vector>
using Numbers = std::vector<double>;
// One exported model: knows its inputs, their ranges and its outputs from the file itself.
class Model {
 public:
  explicit Model(const char* path) : session_(env_, path, options()) {
    for (size_t i = 0; i < session_.GetInputCount(); ++i) {
      inputs.emplace_back(session_.GetInputNameAllocated(i, allocator_).get());
      auto shape = session_.GetInputTypeInfo(i).GetTensorTypeAndShapeInfo().GetShape();
      widths.push_back(shape.size() == 2 ? shape[1] : 0);
    }
    for (size_t i = 0; i < session_.GetOutputCount(); ++i)
      outputs.emplace_back(session_.GetOutputNameAllocated(i, allocator_).get());
  }

  // Numbers that physgen wrote into the file, such as "physgen.range.incident_energies"
  Numbers metadata(const std::string& key) {
    auto text = session_.GetModelMetadata().LookupCustomMetadataMapAllocated(key.c_str(), allocator_);
    if (!text) throw std::runtime_error("the model has no " + key + ": export it with physgen");
    Numbers found;
    std::istringstream words(text.get());
    for (double number; words >> number;) found.push_back(number);
    return found;
  }

  // One event: conditions and noise in the order of the inputs, columns in that of the outputs.
  std::vector<Numbers> operator()(const std::vector<Numbers>& given) {
    auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const int64_t one = 1;
    std::vector<Ort::Value> tensors;
    std::vector<std::vector<float>> noise(given.size());
    Numbers conditions(given.size());
    std::vector<const char*> in, out;
    for (size_t i = 0; i < given.size(); ++i) {
      if (given[i].size() != size_of(i))
        throw std::invalid_argument(inputs[i] + " wants " + std::to_string(size_of(i)) +
                                    " numbers per event, got " + std::to_string(given[i].size()));
      in.push_back(inputs[i].c_str());
      if (!is_noise(i)) {
        conditions[i] = given[i][0];
        tensors.push_back(Ort::Value::CreateTensor<double>(memory, &conditions[i], 1, &one, 1));
      } else {
        const int64_t shape[] = {one, widths[i]};
        noise[i].assign(given[i].begin(), given[i].end());
        tensors.push_back(Ort::Value::CreateTensor<float>(memory, noise[i].data(), noise[i].size(), shape, 2));
      }
    }
    for (auto& name : outputs) out.push_back(name.c_str());
    std::vector<Numbers> columns;
    for (auto& value : session_.Run(Ort::RunOptions{}, in.data(), tensors.data(), in.size(), out.data(), out.size()))
      columns.push_back(numbers(value));
    return columns;
  }
  bool is_noise(size_t i) const { return widths[i] > 0; }
  size_t size_of(size_t i) const { return is_noise(i) ? widths[i] : 1; }
  std::vector<std::string> inputs, outputs;
 private:
  static Ort::SessionOptions options() {
    Ort::SessionOptions chosen;
    chosen.SetIntraOpNumThreads(1);  // a simulation runs one event per thread
    return chosen;
  }
  static Numbers numbers(const Ort::Value& value) {
    const auto info = value.GetTensorTypeAndShapeInfo();
    const auto copied = [&](const auto* first) { return Numbers(first, first + info.GetElementCount()); };
    switch (info.GetElementType()) {
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return copied(value.GetTensorData<float>());
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE: return copied(value.GetTensorData<double>());
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return copied(value.GetTensorData<int64_t>());
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return copied(value.GetTensorData<int32_t>());
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL: return copied(value.GetTensorData<bool>());
      default: throw std::runtime_error("an output has a type that this example does not read");
    }
  }

  std::vector<int64_t> widths;  // of a noise input; 0 for a condition, one number per event
  Ort::AllocatorWithDefaultOptions allocator_;
  Ort::Env env_{ORT_LOGGING_LEVEL_ERROR};
  Ort::Session session_;
};

// Largest difference between what comes out and the example in the file, relative to the column.
double difference_to_example(Model& model) {
  std::vector<Numbers> given;
  for (size_t i = 0; i < model.inputs.size(); ++i) {
    Numbers all = model.metadata("physgen.example." + model.inputs[i]);
    all.resize(model.size_of(i));  // of its two events the first
    given.push_back(all);
  }
  auto made = model(given);
  double largest = 0;
  for (size_t i = 0; i < made.size(); ++i) {
    Numbers expected = model.metadata("physgen.example." + model.outputs[i]);
    double scale = 1e-30;
    for (double e : expected) scale = std::max(scale, std::abs(e));
    for (size_t k = 0; k < made[i].size(); ++k)
      largest = std::max(largest, std::abs(made[i][k] - expected[k]) / scale);
  }
  return largest;
}

int main(int n_words, char** words) try {
  if (n_words < 2) throw std::invalid_argument("usage: generate MODEL.onnx [EVENTS [CONDITION...]]");
  Model model(words[1]);
  const double difference = difference_to_example(model);
  const int n_events = n_words > 2 ? std::stoi(words[2]) : 200;
  std::printf("example of the card: largest difference %.1e of the column\n", difference);

  std::mt19937_64 engine(20240601);  // in Geant4: CLHEP::RandGauss::shoot(), G4UniformRand()
  std::normal_distribution<double> gauss;
  std::uniform_real_distribution<double> flat(1e-7, 1 - 1e-7);
  std::vector<Numbers> given;
  for (size_t i = 0; i < model.inputs.size(); ++i) {  // the conditions come first
    given.emplace_back(model.size_of(i));
    if (model.is_noise(i)) continue;
    const int word = 3 + static_cast<int>(i);
    given[i][0] = n_words > word ? std::stod(words[word])
                                 : model.metadata("physgen.range." + model.inputs[i])[0];
  }
  double sum = 0, n_outside = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int event = 0; event < n_events; ++event) {
    for (size_t i = 0; i < given.size(); ++i)
      for (double& z : given[i])
        if (model.is_noise(i)) z = model.inputs[i] == "normal" ? gauss(engine) : flat(engine);
    auto columns = model(given);
    for (double cell : columns[0]) sum += cell;
    n_outside += columns.back()[0] == 0;  // the last output is in_range
  }
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  std::printf("%d events, %.3f ms/event, mean sum of %s %.6g\n", n_events, spent.count() / n_events,
              model.outputs[0].c_str(), sum / n_events);
  if (n_outside > 0) std::puts("the conditions lie outside the trained range");
  return difference < 1e-4 && n_outside == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 2;
}
