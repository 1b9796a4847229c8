# Builds aws_key_management.so as a plugin of a MariaDB source tree, in the place of the C++ plugin of that name: the same
# switches, the same places. README.md says what they do.

GET_FILENAME_COMPONENT(AKM_ROOT "${CMAKE_CURRENT_LIST_DIR}/.." REALPATH)
INCLUDE(${CMAKE_CURRENT_LIST_DIR}/rust.cmake)
INCLUDE(${CMAKE_CURRENT_LIST_DIR}/libclang.cmake)
INCLUDE(${CMAKE_CURRENT_LIST_DIR}/package.cmake)

# Whether it cannot be built, and why, in `reason`, which is empty otherwise.
FUNCTION(AKM_OBSTACLE reason)
  SET(found "")
  IF(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
    SET(found "it needs Linux, and this is ${CMAKE_SYSTEM_NAME}")
  ELSEIF(CMAKE_VERSION VERSION_LESS 3.15)
    SET(found "it needs cmake 3.15 or later, and this is ${CMAKE_VERSION}")
  ELSEIF(CMAKE_CROSSCOMPILING)
    SET(found "this is a cross build. Build it by itself, with cargo build --target, and copy the .so")
  ELSEIF(WITHOUT_DYNAMIC_PLUGINS)
    SET(found "it is a dynamic plugin, and DISABLE_SHARED leaves these out")
  ELSEIF(NOT NOT_FOR_DISTRIBUTION)
    SET(found "it contains libraries under the Apache License 2.0, which is not compatible with the server's GPL version 2: \
the two together must not be given to others. If you build for your own use only, set -DNOT_FOR_DISTRIBUTION=ON")
  ELSE()
    AKM_FIND_RUST(found)
    IF(NOT found)
      AKM_FIND_LIBCLANG(found)
    ENDIF()
  ENDIF()
  SET(${reason} "${found}" PARENT_SCOPE)
ENDFUNCTION()

# The files that the plugin is made of. Cargo would know by itself, but then it would run at each build, and in a
# `sudo make install`, where root has another cargo or none.
FUNCTION(AKM_SOURCES files)
  # A file that is new or gone configures the tree anew.
  FILE(GLOB_RECURSE sources CONFIGURE_DEPENDS "${AKM_ROOT}/src/*.rs")
  FILE(GLOB headers CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/include/mysql/*.h")
  LIST(APPEND sources ${headers} "${CMAKE_BINARY_DIR}/include/mysql_version.h")
  FOREACH(name build.rs Cargo.lock Cargo.toml include/plugin.h)
    LIST(APPEND sources "${AKM_ROOT}/${name}")
  ENDFOREACH()
  SET(${files} "${sources}" PARENT_SCOPE)
ENDFUNCTION()

FUNCTION(AKM_ADD_TARGET)
  SET(AWS_KEY_MANAGEMENT_TARGET_DIR "${CMAKE_CURRENT_BINARY_DIR}/target"
    CACHE PATH "Where cargo compiles the plugin aws_key_management")
  MARK_AS_ADVANCED(AWS_KEY_MANAGEMENT_TARGET_DIR)
  SET(environment
    # Of the tree, and made by its configuration.
    "MARIADB_INCLUDE_DIR=${CMAKE_SOURCE_DIR}/include:${CMAKE_BINARY_DIR}/include"
    "CARGO_TARGET_DIR=${AWS_KEY_MANAGEMENT_TARGET_DIR}"
    # The one whose version was looked at.
    "RUSTC=${RUSTC_EXECUTABLE}")
  IF(LIBCLANG_PATH)
    LIST(APPEND environment "LIBCLANG_PATH=${LIBCLANG_PATH}")
  ENDIF()
  AKM_SOURCES(sources)
  SET(plugin "${CMAKE_CURRENT_BINARY_DIR}/aws_key_management.so")
  ADD_CUSTOM_COMMAND(OUTPUT "${plugin}"
    # Make's job server is not handed on to commands, so cargo is not told of it.
    COMMAND ${CMAKE_COMMAND} -E env --unset=MAKEFLAGS --unset=MFLAGS --unset=CARGO_MAKEFLAGS ${environment}
      ${CARGO_EXECUTABLE} build --release --locked --package aws_key_management --lib
    COMMAND ${CMAKE_COMMAND} -E copy "${AWS_KEY_MANAGEMENT_TARGET_DIR}/release/libaws_key_management.so" "${plugin}"
    DEPENDS ${sources}
    # Cargo looks for its configuration, such as that of vendored crates, from here upwards.
    WORKING_DIRECTORY "${AKM_ROOT}"
    COMMENT "Building aws_key_management.so with cargo"
    USES_TERMINAL
    VERBATIM)
  # Beside it, where the tests of the tree look for it too.
  SET(statements "${CMAKE_CURRENT_BINARY_DIR}/aws_key_management.sql")
  ADD_CUSTOM_COMMAND(OUTPUT "${statements}"
    COMMAND ${CMAKE_COMMAND} -E copy "${AKM_ROOT}/sql/aws_key_management.sql" "${statements}"
    DEPENDS "${AKM_ROOT}/sql/aws_key_management.sql"
    VERBATIM)
  ADD_CUSTOM_TARGET(aws_key_management ALL DEPENDS "${plugin}" "${statements}")
ENDFUNCTION()

# What an earlier configuration built is not to be found by the tests of the tree.
FUNCTION(AKM_LEAVE_OUT)
  FILE(REMOVE "${CMAKE_CURRENT_BINARY_DIR}/aws_key_management.so" "${CMAKE_CURRENT_BINARY_DIR}/aws_key_management.sql")
  ADD_FEATURE_INFO(AWS_KEY_MANAGEMENT OFF "AWS Encryption Key Management Plugin")
ENDFUNCTION()

# As the server's macro for plugins reads them: older switches set the default of PLUGIN_AWS_KEY_MANAGEMENT.
SET(AKM_DEFAULT AUTO)
IF(WITHOUT_AWS_KEY_MANAGEMENT OR WITHOUT_PLUGIN_AWS_KEY_MANAGEMENT OR WITH_NONE)
  SET(AKM_DEFAULT NO)
ELSEIF(WITH_AWS_KEY_MANAGEMENT OR WITH_PLUGIN_AWS_KEY_MANAGEMENT)
  SET(AKM_DEFAULT DYNAMIC)
ENDIF()
SET(PLUGIN_AWS_KEY_MANAGEMENT ${AKM_DEFAULT} CACHE STRING
  "How to build plugin AWS_KEY_MANAGEMENT. Options are: NO DYNAMIC YES AUTO.")

IF(NOT PLUGIN_AWS_KEY_MANAGEMENT MATCHES "^(NO|YES|AUTO|STATIC|DYNAMIC)$")
  MESSAGE(FATAL_ERROR
    "PLUGIN_AWS_KEY_MANAGEMENT is ${PLUGIN_AWS_KEY_MANAGEMENT}, and may be NO, DYNAMIC, YES or AUTO")
ELSEIF(PLUGIN_AWS_KEY_MANAGEMENT STREQUAL "STATIC")
  MESSAGE(FATAL_ERROR
    "aws_key_management cannot be linked into the server: set -DPLUGIN_AWS_KEY_MANAGEMENT=DYNAMIC instead of STATIC")
ENDIF()

IF(WITHOUT_SERVER OR PLUGIN_AWS_KEY_MANAGEMENT STREQUAL "NO")
  AKM_LEAVE_OUT()
  RETURN()
ENDIF()

AKM_OBSTACLE(AKM_REASON)
IF(AKM_REASON AND NOT PLUGIN_AWS_KEY_MANAGEMENT STREQUAL "AUTO")
  MESSAGE(FATAL_ERROR "aws_key_management cannot be built: ${AKM_REASON}. \
(-DPLUGIN_AWS_KEY_MANAGEMENT=NO leaves the plugin out.)")
ELSEIF(AKM_REASON)
  MESSAGE(STATUS "Skipping the plugin aws_key_management: ${AKM_REASON}.")
  AKM_LEAVE_OUT()
  RETURN()
ENDIF()

IF(AWS_SDK_EXTERNAL_PROJECT)
  MESSAGE(STATUS "AWS_SDK_EXTERNAL_PROJECT has no effect: aws_key_management comes with its own AWS client.")
ENDIF()
AKM_ADD_TARGET()
AKM_INSTALL()
# The tree's last words about what was configured: that it must not be distributed.
SET(NON_DISTRIBUTABLE_WARNING "Apache 2.0" CACHE INTERNAL "")
ADD_FEATURE_INFO(AWS_KEY_MANAGEMENT ON "AWS Encryption Key Management Plugin")
