# Finds cargo and rustc: CARGO_EXECUTABLE, RUSTC_EXECUTABLE.

# `reason` tells what is wrong with them, and is empty if nothing is.
FUNCTION(AKM_FIND_RUST reason)
  SET(toolchain "Rust ${AKM_RUST_VERSION} or later is needed: install it by rustup (https://rustup.rs), or name another \
one by -DCARGO_EXECUTABLE=FILE and -DRUSTC_EXECUTABLE=FILE")
  FIND_PROGRAM(CARGO_EXECUTABLE cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin"
    DOC "Builds the plugin aws_key_management")
  SET(beside "")
  IF(CARGO_EXECUTABLE)
    GET_FILENAME_COMPONENT(beside "${CARGO_EXECUTABLE}" PATH)
  ENDIF()
  FIND_PROGRAM(RUSTC_EXECUTABLE rustc HINTS "${beside}" DOC "The compiler that cargo uses")
  MARK_AS_ADVANCED(CARGO_EXECUTABLE RUSTC_EXECUTABLE)
  FOREACH(name cargo rustc)
    STRING(TOUPPER "${name}_EXECUTABLE" program)
    AKM_CHECK_VERSION(${name} "${${program}}" wrong)
    IF(wrong)
      SET(${reason} "${wrong}. ${toolchain}" PARENT_SCOPE)
      RETURN()
    ENDIF()
  ENDFOREACH()
  SET(${reason} "" PARENT_SCOPE)
ENDFUNCTION()

# `wrong` tells what is wrong with the program `name`, found as `file`.
FUNCTION(AKM_CHECK_VERSION name file wrong)
  IF(NOT file)
    SET(${wrong} "${name} was not found" PARENT_SCOPE)
    RETURN()
  ENDIF()
  # There, because a folder may have a toolchain of its own.
  EXECUTE_PROCESS(COMMAND "${file}" --version WORKING_DIRECTORY "${AKM_ROOT}"
    RESULT_VARIABLE result OUTPUT_VARIABLE said ERROR_VARIABLE complaint)
  IF(NOT said MATCHES "^${name} ([0-9]+[.][0-9]+[.][0-9]+)")
    STRING(STRIP "${said}${complaint}" said)
    SET(${wrong} "${file} does not tell its version (${result}): ${said}" PARENT_SCOPE)
  ELSEIF(CMAKE_MATCH_1 VERSION_LESS AKM_RUST_VERSION)
    SET(${wrong} "${file} is too old (${CMAKE_MATCH_1})" PARENT_SCOPE)
  ELSE()
    SET(${wrong} "" PARENT_SCOPE)
  ENDIF()
ENDFUNCTION()

# What Cargo.toml asks for.
FILE(STRINGS "${AKM_ROOT}/Cargo.toml" AKM_RUST_VERSION REGEX "^rust-version = \"[0-9.]+\"" LIMIT_COUNT 1)
STRING(REGEX REPLACE "^rust-version = \"([0-9.]+)\".*" "\\1" AKM_RUST_VERSION "${AKM_RUST_VERSION}")
