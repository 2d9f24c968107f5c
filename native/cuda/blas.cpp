#include "cuda/blas.h"

#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/error.h"
#if defined(LAYERPEEL_CUDA_EMULATED)
#include "cuda/emulated/blas.h"
#endif

namespace lp::cuda {
namespace {

struct Found {
  BlasFunctions functions;
  bool there = false;
  std::string state;
};

std::vector<std::string> matches(const std::string& pattern) {
  std::vector<std::string> paths;
  glob_t found{};
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}

std::string environment(const char* name) {
  const char* const text = std::getenv(name);
  return text ? text : "";
}

// What is tried, in order, and where that is in words.
class Search {
 public:
  // A library that has all functions stays loaded: its threads and the driver's know it.
  bool tries(const std::string& path, int flags = 0) {
    void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | flags);
    if (!library) return false;
    found.there = true;
    take(library, found.functions.create, "cublasCreate_v2");
    take(library, found.functions.destroy, "cublasDestroy_v2");
    take(library, found.functions.set_stream, "cublasSetStream_v2");
    take(library, found.functions.set_workspace, "cublasSetWorkspace_v2");
    take(library, found.functions.gemm_strided_batched, "cublasGemmStridedBatchedEx");
    if (!found.there) places.push_back(path + " (which lacks a function of cuBLAS 12 or 13)");
    Dl_info info;
    if (found.there) {
      const bool known = dladdr(reinterpret_cast<void*>(found.functions.create), &info) && info.dli_fname;
      found.state = known ? info.dli_fname : path;
    }
    return found.there;
  }
  bool tries_folder(const std::string& folder) {
    for (const char* const version : {"13", "12"})
      for (const std::string& path : matches(folder + "/libcublas.so." + version))
        if (tries(path)) return true;
    places.push_back(folder);
    return false;
  }

  Found found;
  std::vector<std::string> places;

 private:
  template <class F>
  void take(void* library, F& function, const char* name) {
    function = reinterpret_cast<F>(dlsym(library, name));
    found.there &= function != nullptr;
  }
};

// `own`: a folder of the package's; or empty.
bool look(Search& search, const std::string& own) {
  if (const std::string named = environment("LAYERPEEL_CUBLAS"); !named.empty()) {
    if (search.tries_folder(named)) return true;
    search.places.back() = "LAYERPEEL_CUBLAS=" + named;
    return search.tries(named);  // or nothing: who names one wants no other
  }
  for (const int flags : {RTLD_NOLOAD, 0})
    for (const char* const name : {"libcublas.so.13", "libcublas.so.12"})
      if (search.tries(name, flags)) return true;
  search.places.push_back("the linker's paths");
  if (const std::string cuda = environment("CUDA_PATH"); !cuda.empty() && search.tries_folder(cuda + "/lib64"))
    return true;
  if (search.tries_folder("/usr/local/cuda/lib64")) return true;
  for (const char* const name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    const std::string root = environment(name);
    if (root.empty()) continue;
    for (const char* const folder : {"cu13/lib", "cublas/lib"})
      if (search.tries_folder(root + "/lib/python*/site-packages/nvidia/" + folder)) return true;
  }
  return !own.empty() && search.tries_folder(own);
}

const Found& found(const std::string& own = {}) {
  static const Found once = [&] {
#if defined(LAYERPEEL_CUDA_EMULATED)
    const std::string named = environment("LAYERPEEL_CUBLAS");
    if (named == "emulated") return Found{emu::blas_functions(), true, named};
    if (named.empty()) return Found{{}, false, "An emulated device has the emulated one: LAYERPEEL_CUBLAS=emulated."};
#endif
    Search search;
    if (!look(search, own)) {
      search.found.there = false;
      search.found.state = "cuBLAS 12 or 13 (libcublas.so) was not found; looked in ";
      for (std::size_t i = 0; i < search.places.size(); i++) search.found.state += (i ? ", " : "") + search.places[i];
      search.found.state += ". `layerpeel cuda install` fetches it; LAYERPEEL_CUBLAS names its folder.";
    }
    return search.found;
  }();
  return once;
}

void expect(BlasFunctions::Status status, const char* what) {
  if (status == BlasFunctions::kSuccess) return;
  if (status == BlasFunctions::kAllocationFailed) {
    throw Error("LP_MEMORY", std::string("The device has no memory for cuBLAS to ") + what + ".");
  }
  throw Error("LP_DEVICE", std::string("cuBLAS refused to ") + what + " (status " + std::to_string(status) + ").");
}

// cuBLAS counts in int.
int narrow(Index value) {
  if (value > std::numeric_limits<int>::max()) {
    throw Error("LP_DEVICE",
                "A product on the device with a side of " + std::to_string(value) + "; at most 2³¹ − 1 fit.");
  }
  return static_cast<int>(value);
}

}  // namespace

const BlasFunctions* blas_functions() { return found().there ? &found().functions : nullptr; }
std::string blas_state() { return found().state; }
std::string products_library(const std::string& folder) { return found(folder).state; }

Blas::Blas() : functions_(blas_functions()) {
  if (!functions_) throw Error("LP_DEVICE", blas_state());
  expect(functions_->create(&handle_), "start");
}
Blas::~Blas() { functions_->destroy(handle_); }

#if defined(LAYERPEEL_CUDA_EMULATED)
Index Blas::room(int) { return 4096; }
#else
Index Blas::room(int major) { return Index{1} << (major >= 9 ? 25 : 22); }
#endif

void Blas::use(cudaStream_t stream, void* workspace, std::size_t bytes) {
  expect(functions_->set_stream(handle_, stream), "take a stream");  // which forgets the workspace
  expect(functions_->set_workspace(handle_, workspace, bytes), "take its workspace");
}

template <class T>
void Blas::gemm(Precision precision, bool transpose_a, bool transpose_b, Index m, Index n, Index k, T alpha, const T* a,
                Index lda, const T* b, Index ldb, T beta, T* c, Index ldc, Index count, Index stride_a, Index stride_b,
                Index stride_c) {
  if (m == 0 || n == 0 || count == 0) return;
  using F = BlasFunctions;
  constexpr bool kDouble = std::is_same_v<T, double>;
  constexpr int kType = kDouble ? F::kFloat64 : F::kFloat32;
  const int in = kDouble                        ? F::kInFloat64
                 : precision == Precision::tf32 ? F::kInTf32
                 : precision == Precision::bf16 ? F::kInBf16
                                                : F::kInFloat32;
  // Row-major c is column-major cᵀ = op(b)ᵀ op(a)ᵀ.
  expect(functions_->gemm_strided_batched(
             handle_, transpose_b ? F::kTransposed : F::kAsIs, transpose_a ? F::kTransposed : F::kAsIs, narrow(n),
             narrow(m), narrow(k), &alpha, b, kType, narrow(ldb), stride_b, a, kType, narrow(lda), stride_a, &beta, c,
             kType, narrow(ldc), stride_c, narrow(count), in, F::kAlgorithmOfItsChoice),
         "multiply");
}
template void Blas::gemm(Precision, bool, bool, Index, Index, Index, float, const float*, Index, const float*, Index,
                         float, float*, Index, Index, Index, Index, Index);
template void Blas::gemm(Precision, bool, bool, Index, Index, Index, double, const double*, Index, const double*, Index,
                         double, double*, Index, Index, Index, Index, Index);

}  // namespace lp::cuda
