// NVRTC for tests: compiles kernels with g++ for the GPU of driver.cc. What it calls the compiled code is the path of a
// library beside this one.
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>

namespace {

constexpr int kOk = 0, kCompilationFailed = 6;

struct Program {
  std::string source, log, path;
  std::map<std::string, std::string> headers;
};

std::string OwnFolder() {
  Dl_info info;
  ::dladdr(reinterpret_cast<void*>(&OwnFolder), &info);
  const std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/'));
}

void Write(const std::string& path, const std::string& text) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
    ::mkdir(path.substr(0, slash).c_str(), 0700);
  std::ofstream(path) << text;
}

bool Run(const std::string& command, std::string* log) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return false;
  char line[4096];
  while (std::fgets(line, sizeof(line), pipe) != nullptr) *log += line;
  return ::pclose(pipe) == 0;
}

}  // namespace

extern "C" {

int nvrtcVersion(int* major, int* minor) { return *major = 99, *minor = 0, kOk; }
int nvrtcGetNumSupportedArchs(int* count) { return *count = 1, kOk; }
int nvrtcGetSupportedArchs(int* archs) { return archs[0] = 99, kOk; }
int nvrtcCreateProgram(Program** out, const char* source, const char*, int count, const char* const* headers,
                       const char* const* names) {
  *out = new Program;
  (*out)->source = source;
  for (int i = 0; i < count; ++i) (*out)->headers[names[i]] = headers[i];
  return kOk;
}
int nvrtcDestroyProgram(Program** program) { return delete *program, *program = nullptr, kOk; }
int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
  std::string folder = OwnFolder() + "/program-XXXXXX";
  if (::mkdtemp(&folder[0]) == nullptr) return kCompilationFailed;
  Write(folder + "/program.cu", program->source);
  for (const auto& [name, text] : program->headers) Write(folder + "/" + name, text);
  std::string command = "cd " + folder + " && g++ -std=c++17 -O1 -fPIC -fvisibility=hidden -ffp-contract=off -w" +
                        " -fsanitize=thread --param tsan-instrument-func-entry-exit=0 -I. '-I" FAKE_GPU_SOURCES
                        "' -include device.h";
  constexpr char kDefine[] = "--define-macro=";
  for (int i = 0; i < count; ++i)
    if (std::strncmp(options[i], kDefine, sizeof(kDefine) - 1) == 0)
      command += std::string(" -D") + (options[i] + sizeof(kDefine) - 1);
  command += " -x c++ -c program.cu -o program.o && g++ -shared program.o -o program.so";
  program->path = folder + "/program.so";
  return Run(command, &program->log) ? kOk : kCompilationFailed;
}
int nvrtcGetProgramLogSize(Program* program, size_t* bytes) { return *bytes = program->log.size() + 1, kOk; }
int nvrtcGetProgramLog(Program* program, char* log) { return std::strcpy(log, program->log.c_str()), kOk; }
int nvrtcGetCUBINSize(Program* program, size_t* bytes) { return *bytes = program->path.size() + 1, kOk; }
int nvrtcGetCUBIN(Program* program, char* cubin) { return std::strcpy(cubin, program->path.c_str()), kOk; }
}
