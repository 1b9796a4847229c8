# Where `make install` puts the plugin, and the package that it is in: where the server's macro for plugins puts one. The macro
# itself cannot be called, because it compiles C++.

# The component aws-key-management: the plugin, and the statements that make its keys visible in SQL. A macro, because it
# sets variables of the whole tree.
MACRO(AKM_INSTALL)
  # Shared libraries are executable, or not, as the system has it.
  SET(AKM_KIND PROGRAMS)
  IF(CMAKE_INSTALL_SO_NO_EXE)
    SET(AKM_KIND FILES)
  ENDIF()
  INSTALL(${AKM_KIND} "${CMAKE_CURRENT_BINARY_DIR}/aws_key_management.so"
    DESTINATION "${INSTALL_PLUGINDIR}" COMPONENT aws-key-management)
  INSTALL(FILES "${AKM_ROOT}/sql/aws_key_management.sql"
    DESTINATION "${INSTALL_PLUGINDIR}" COMPONENT aws-key-management)
  INSTALL_MYSQL_TEST("${AKM_ROOT}/mysql-test/" "plugin/aws_key_management")

  # A tree that is configured for packages (-DRPM=.., -DDEB=..): one of its own, with an option file that loads the plugin.
  LIST(FIND CPACK_COMPONENTS_ALL aws-key-management AKM_PLACE)
  IF(CPACK_COMPONENTS_ALL AND INSTALL_SYSCONF2DIR AND AKM_PLACE EQUAL -1)
    SET(CPACK_COMPONENTS_ALL ${CPACK_COMPONENTS_ALL} aws-key-management PARENT_SCOPE)
    SET(AKM_OPTIONS "${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/aws_key_management.cnf")
    FILE(WRITE "${AKM_OPTIONS}" "[mariadb]\nplugin-load-add=aws_key_management.so\n")
    INSTALL(FILES "${AKM_OPTIONS}" DESTINATION "${INSTALL_SYSCONF2DIR}" COMPONENT aws-key-management)
    SET(AKM_RPM CPACK_RPM_aws-key-management)
    SET(${AKM_RPM}_PACKAGE_REQUIRES "MariaDB-server" PARENT_SCOPE)
    # `ignored` is the tree's: folders that belong to other packages.
    SET(${AKM_RPM}_USER_FILELIST ${ignored} "%config(noreplace) ${INSTALL_SYSCONF2DIR}/*" PARENT_SCOPE)
    # A server that runs is restarted, as after each change of its plugins.
    SET(${AKM_RPM}_POST_INSTALL_SCRIPT_FILE "${CMAKE_SOURCE_DIR}/support-files/rpm/plugin-postin.sh" PARENT_SCOPE)
    SET(${AKM_RPM}_POST_TRANS_SCRIPT_FILE "${CMAKE_SOURCE_DIR}/support-files/rpm/server-posttrans.sh" PARENT_SCOPE)
  ENDIF()
ENDMACRO()
