{
  # For node-gyp and prebuildify. CMake is the one build truth: this target only runs it.
  # node-gyp owns build/ and looks for the result in build/Release; CMake's tree is build/cmake.
  'targets': [{
    'target_name': 'layerpeel',
    'type': 'none',
    'actions': [{
      'action_name': 'cmake',
      'inputs': [],
      'outputs': ['<(PRODUCT_DIR)/layerpeel.node'],
      'action': ['npx', '--yes', 'cmake-js@8', 'compile', '--out', 'build/cmake'],
    }],
  }],
}
