# Finds libclang, with which the server's headers are read: where bindgen's crate clang-sys looks for it.

# The folder, if it is an unusual one.
IF(DEFINED ENV{LIBCLANG_PATH})
  SET(LIBCLANG_PATH "$ENV{LIBCLANG_PATH}" CACHE PATH "The folder of libclang, if it is not found without")
  MARK_AS_ADVANCED(LIBCLANG_PATH)
ENDIF()

# `reason` tells that there is none, or none that is new enough, and is empty otherwise.
FUNCTION(AKM_FIND_LIBCLANG reason)
  AKM_LIBCLANG_FILES(files)
  SET(too_old "")
  FOREACH(file ${files})
    # Links such as libclang.so.1 lead to a file whose name tells the version.
    GET_FILENAME_COMPONENT(name "${file}" REALPATH)
    GET_FILENAME_COMPONENT(name "${name}" NAME)
    IF(name MATCHES "^libclang(-|[.]so[.])([0-9]+)" AND CMAKE_MATCH_2 LESS AKM_LIBCLANG_VERSION)
      SET(too_old "${file}")
    ELSE()
      SET(${reason} "" PARENT_SCOPE)
      RETURN()
    ENDIF()
  ENDFOREACH()
  SET(wrong "libclang, which reads the server's headers, was not found")
  IF(too_old)
    SET(wrong "libclang, which reads the server's headers, is too old (${too_old})")
  ENDIF()
  SET(${reason} "${wrong}. Version ${AKM_LIBCLANG_VERSION} or later is needed: install it (Debian, Ubuntu: apt-get install \
libclang-dev; RHEL, Fedora, Amazon Linux: dnf install clang-devel), or set -DLIBCLANG_PATH=FOLDER" PARENT_SCOPE)
ENDFUNCTION()

# All files that may be one.
FUNCTION(AKM_LIBCLANG_FILES files)
  SET(folders "${LIBCLANG_PATH}")
  IF(NOT LIBCLANG_PATH)
    EXECUTE_PROCESS(COMMAND llvm-config --prefix OUTPUT_VARIABLE prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    IF(prefix)
      LIST(APPEND folders "${prefix}/lib" "${prefix}/lib64")
    ENDIF()
    STRING(REPLACE ":" ";" paths "$ENV{LD_LIBRARY_PATH}:$ENV{LIBRARY_PATH}")
    LIST(APPEND folders ${paths} "/usr/local/llvm*/lib*")
    FOREACH(usr /usr/local/lib* /usr/lib*)
      LIST(APPEND folders "${usr}/*/*" "${usr}/*" "${usr}")
    ENDFOREACH()
  ENDIF()
  SET(patterns "")
  FOREACH(folder ${folders})
    LIST(APPEND patterns "${folder}/libclang.so" "${folder}/libclang-*.so" "${folder}/libclang.so.*"
      "${folder}/libclang-*.so.*")
  ENDFOREACH()
  FILE(GLOB found ${patterns})
  # LIBCLANG_PATH may be the file itself.
  IF(LIBCLANG_PATH AND EXISTS "${LIBCLANG_PATH}" AND NOT IS_DIRECTORY "${LIBCLANG_PATH}")
    LIST(APPEND found "${LIBCLANG_PATH}")
  ENDIF()
  SET(${files} "${found}" PARENT_SCOPE)
ENDFUNCTION()

# What bindgen asks for.
SET(AKM_LIBCLANG_VERSION 9)
