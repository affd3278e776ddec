#!/usr/bin/python3
"""Feeds tools/tidy trees with one fault each and expects that complaint, and no other."""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
H = "int x(void);\n"
C = '#include "core/x.h"\n\n'
FUZZ_ROW = "file\ttarget\treads\t%\t-\nsmtp/x.c\tsmtp/x_fuzz.c\treplies\t90\t-\n"


def lines(count):
    return "    x();\n" * count


# name, {path: content}, the complaint or None, the line it stands at
CASES = [
    ("clean", {"core/x.h": H, "core/x.c": C + "int x(void)\n{\n    return 0;\n}\n"}, None, 0),
    ("include_upward", {"core/x.h": H, "core/x.c": C + '#include "smtp/y.h"\n', "smtp/y.h": H},
     "upward include: core may not know smtp", 3),
    ("include_between_siblings", {"tsa/x.h": '#include "proxy/y.h"\n', "proxy/y.h": H,
                                  "smtp/z.h": '#include "tsa/x.h"\n',
                                  "tests/w_test.c": '#include "smtp/z.h"\n'},
     "upward include: tsa may not know proxy", 1),
    ("tests_may_include_upward", {"core/x.h": H, "core/x_test.c": C + '#include "smtp/y.h"\n',
                                  "smtp/y.h": H}, None, 0),
    ("nobody_includes_tests", {"core/x.h": H, "bench/b.c": '#include "bench/b.h"\n',
                               "bench/b.h": '#include "tests/kit/k.h"\n', "tests/kit/k.h": H,
                               "core/x.c": C}, "upward include: bench may not know tests", 1),
    ("include_from_nowhere", {"core/x.h": H, "core/x.c": C + '#include "y.h"\n'},
     "y.h is no file of ours", 3),
    ("include_in_comment", {"core/x.h": H, "core/x.c": C + '/*\n#include "smtp/y.h"\n*/\n'}, None,
     0),
    ("own_header_late", {"core/x.h": H, "core/x.c": "#include <stdio.h>\n" + C},
     "own header first: core/x.h", 1),
    ("long_line", {"core/x.h": "/*" + "x" * 99 + "*/\n", "core/x.c": C}, "line of 103 columns", 1),
    ("tab", {"core/x.h": "\tint x(void);\n", "core/x.c": C}, "tab", 1),
    ("trailing_space", {"core/x.h": "int x(void); \n", "core/x.c": C}, "white space", 1),
    ("long_function", {"core/x.h": H, "core/x.c": C + "int y(void)\n{\n" + lines(68) + "}\n"},
     "function y of 71 lines", 3),
    ("page_long_function", {"core/x.h": H, "core/x.c": C + "int y(void)\n{\n" + lines(67) + "}\n"},
     None, 0),
    ("long_file", {"core/x.h": "int a;\n".replace("int a", "int a(void)") * 1001, "core/x.c": C},
     "file of 1001 lines", 1),
    ("many_parameters", {"core/x.h": H, "core/x.c": C +
                         "int y(int a, int b, int c, int d, int (*e)(int, int),\n"
                         "      int f, int g)\n{\n    return 0;\n}\n"},
     "function y of 7 parameters", 3),
    ("long_python_function", {"tests/x.py": "def f():\n" + "    pass\n" * 70},
     "function f of 71 lines", 1),
    ("strcpy", {"core/x.h": H, "core/x.c": C + "int y(void)\n{\n    strcpy(a, b);\n}\n"},
     "strcpy is banned", 5),
    ("strcpy_in_test", {"core/x.h": H, "core/x_test.c": C + "int y(void)\n{\n    atoi(a);\n}\n"},
     "atoi is banned", 5),
    ("strcpy_in_macro", {"core/x.h": "#define COPY(a) \\\n    strcpy(a, a)\n", "core/x.c": C},
     "strcpy is banned", 2),
    ("member_is_no_call", {"core/x.h": H, "core/x.c": C +
                           "int y(void)\n{\n    return s.time(1) + p->rand(2);\n}\n"}, None, 0),
    ("literal_is_no_call", {"core/x.h": H, "core/x.c": C +
                            'int y(void)\n{\n    p("rand(");\n}\n'}, None, 0),
    ("alloca", {"core/x.h": H, "core/x.c": C + "int y(void)\n{\n    alloca(1);\n}\n"},
     "alloca is banned outside tests", 5),
    ("malloc", {"smtp/x.h": H,
                "smtp/x.c": '#include "smtp/x.h"\nint y(void)\n{\n    free(p);\n}\n'},
     "free outside the allocators", 4),
    ("malloc_in_pool", {"core/pool.h": H, "core/pool.c": '#include "core/pool.h"\n'
                        "int y(void)\n{\n    malloc(1);\n}\n"}, None, 0),
    ("liburing", {"shard/x.h": H, "shard/x.c": '#include "shard/x.h"\n#include <liburing.h>\n'},
     "liburing belongs in shard/ring_uring.c", 2),
    ("no_sqarray", {"docs/x.md": "IORING_SETUP_NO_SQ" "ARRAY\n"},
     "breaks the packaged liburing", 1),
    ("core_header", {"core/x.h": "#include <sys/socket.h>\n", "core/x.c": C},
     "core is pure, <sys/socket.h>", 1),
    ("core_clock_header", {"core/x.h": "#include <time.h>\n", "core/x.c": C}, "core is pure", 1),
    ("core_file", {"core/x.h": H, "core/x.c": C + "int y(void)\n{\n    fopen(p, q);\n}\n"},
     "core is pure, fopen", 5),
    ("core_check_may_speak", {"core/check.h": H, "core/check.c": '#include "core/check.h"\n'
                              "int y(void)\n{\n    fprintf(stderr, p);\n}\n"}, None, 0),
    ("core_test_may", {"core/x.h": H, "core/x_test.c": C + "#include <unistd.h>\n"}, None, 0),
    ("global", {"core/x.h": H, "core/x.c": C + "static int counter;\n"}, "global that is not", 3),
    ("global_array", {"core/x.h": H, "core/x.c": C + "int table[3] = {1, 2, 3};\n"},
     "global that is not", 3),
    ("global_pointer", {"core/x.h": H, "core/x.c": C + 'static const char *name = "a";\n'},
     "global that is not", 3),
    ("global_function_pointer", {"core/x.h": H, "core/x.c": C + "int (*hook)(void);\n"},
     "global that is not", 3),
    ("struct_with_object", {"core/x.h": H,
                            "core/x.c": C + "struct s {\n    int a;\n} one = {1};\n"},
     "global that is not", 3),
    ("constants", {"core/x.h": H + "struct s {\n    int a;\n};\nenum e { A };\nstruct t;\n"
                   "typedef int (*f)(int);\nextern const int n;\n_Static_assert(1, \"\");\n",
                   "core/x.c": C + 'static const char *const names[] = {"a"};\n'
                   "static const struct {\n    const char *a;\n} rows[] = {{0}};\n"
                   "int y(int (*a)(int));\n"}, None, 0),
    ("static_local", {"core/x.h": H,
                      "core/x.c": C + "int y(void)\n{\n    static int n = 0;\n}\n"},
     "static variable in y", 5),
    ("static_const_local", {"core/x.h": H,
                            "core/x.c": C + "int y(void)\n{\n    static const struct "
                            "{\n        const char *a;\n    } rows[] = {{0}};\n}\n"}, None, 0),
    ("global_in_test", {"core/x.h": H, "core/x_test.c": C + "static int counter;\n"}, None, 0),
    ("thread_local", {"core/x.h": H, "core/x.c": C + "static _Thread_local const int n = 1;\n"},
     "thread-local", 3),
    ("goto", {"core/x.h": H, "core/x.c": C + "int y(void)\n{\n    goto out;\n}\n"}, "goto", 5),
    ("recursion", {"core/x.h": H, "core/x.c": C + "int y(int n)\n{\n    return y(n - 1);\n}\n"},
     "recursion: y", 3),
    ("todo", {"core/x.h": "/* TO" "DO: more */\n", "core/x.c": C}, "left-over mark", 1),
    ("not_there_yet", {"docs/x.md": "This is Not imple" "mented.\n"}, "left-over mark", 1),
    ("stub", {"core/x.h": "/* a stu" "b */\n", "core/x.c": C}, "left-over mark", 1),
    ("stub_resolver", {"core/x.h": "/* the stub resolver */\n", "core/x.c": C}, None, 0),
    ("absent_page", {"core/x.h": "/* as DES" "IGN 4 says */\n", "core/x.c": C},
     "names a page that readers do not have", 1),
    ("absent_section", {"core/x.h": "/* as sty" "le 3.5 says */\n", "core/x.c": C},
     "names a page that readers do not have", 1),
    ("machine_path", {"tests/x.py": "x = '/wo" "rk/y'\n"}, "path of one machine", 1),
    ("host_in_setup", {"tools/setup": "#!/bin/bash\ncurl https:/" "/deb.example.net/\n"},
     "a build script names a host", 2),
    ("no_header", {"smtp/x.c": "int x;\n".replace("int x", "int x(void)")}, "no header", 1),
    ("part_of_module", {"smtp/x.h": H, "smtp/x_data.c": '#include "smtp/x.h"\n'}, None, 0),
    ("sibling_in_module", {"smtp/x_a.h": H, "smtp/x_b.c": '#include "smtp/x_a.h"\n'}, None, 0),
    ("stranger_in_folder", {"smtp/xx_a.h": H, "smtp/x_b.c": '#include "smtp/xx_a.h"\n'},
     "no header", 1),
    ("main_has_no_header", {"smtp/ringpostd.c": "int main(void);\n"}, None, 0),
    ("unused_header", {"core/x.h": H}, "header that nobody includes", 1),
    ("codec_without_fuzzer", {"smtp/x.h": H, "smtp/x.c": '#include "smtp/x.h"\n',
                              "tests/fuzz_targets.tsv": FUZZ_ROW},
     "reads replies: needs smtp/x_fuzz.c", 1),
    ("fuzz_table_out_of_date", {"tests/fuzz_targets.tsv": FUZZ_ROW},
     "smtp/x.c is gone", 2),
    ("fuzzer_without_row", {"smtp/x.h": H, "smtp/x_fuzz.c": '#include "smtp/x.h"\n'},
     "no row in tests/fuzz_targets.tsv", 1),
    ("third_shim", {"core/x.cpp": "int x(void);\n"}, "C++ outside the shims", 1),
    ("console_writes_markup", {"smtp/console/x.js": "a.textContent = b;\na.inner" "HTML = b;\n"},
     "forbids innerHTML", 2),
    ("console_script_in_the_page",
     {"smtp/console/x.html": "<script src=\"a.js\"></script>\n<script>\n"},
     "forbids <script", 2),
    ("console_handler_in_the_page",
     {"smtp/console/x.html": "<p>\n<p class=\"a\" onclick=\"b()\">\n"},
     'forbids <p class="a" onclick=', 2),
    ("console_asks_elsewhere",
     {"smtp/console/x.css": "a { background: url(https:/" "/x.test/) }\n"},
     "forbids https", 1),
    ("elsewhere_pages_may", {"docs/x.html": "<p style=\"a\">\n"}, None, 0),
]


def run_tidy(files):
    with tempfile.TemporaryDirectory() as root:
        for path, content in files.items():
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(content)
        return subprocess.run([os.path.join(ROOT, "tools", "tidy"), root], capture_output=True,
                              text=True, check=False)


class Tidy(unittest.TestCase):
    pass


def add_case(name, files, complaint, line):
    def test(self):
        result = run_tidy(files)
        found = result.stdout.splitlines()
        self.assertEqual(result.stderr, "")
        self.assertEqual(len(found), 0 if complaint is None else 1, found)
        self.assertEqual(result.returncode, len(found))
        if complaint is not None:
            self.assertIn(complaint, found[0])
            self.assertEqual(found[0].split(":")[1], str(line))
    setattr(Tidy, "test_" + name, test)


for case in CASES:
    add_case(*case)

if __name__ == "__main__":
    sys.exit(unittest.main())
