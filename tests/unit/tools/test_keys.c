/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tools/keys.h"

Test(keys, are_words_or_hexadecimal)
{
    struct key_list list = {0};

    cr_assert_eq(keys_add(&list, "greeting", false), 0);
    cr_assert_eq(keys_add(&list, "00fF17", true), 0);
    cr_assert_eq(keys_add(&list, "0x0a", true), 0);
    cr_assert_eq(list.nr, 3);
    cr_assert_eq(list.keys[0].len, 8);
    cr_assert_arr_eq(list.keys[1].data, "\x00\xff\x17", 3);
    cr_assert_eq(list.keys[2].len, 1);
    keys_destroy(&list);
}

Test(keys, refuse_lengths_and_digits_outside_the_protocol)
{
    struct key_list list = {0};
    char text[2 * KVR_KEY_MAX + 3];

    cr_assert_eq(keys_add(&list, "", false), -EINVAL);
    cr_assert_eq(keys_add(&list, "0x", true), -EINVAL);
    cr_assert_eq(keys_add(&list, "abc", true), -EINVAL);
    cr_assert_eq(keys_add(&list, "zz", true), -EINVAL);
    memset(text, 'a', sizeof(text));
    text[KVR_KEY_MAX] = 0;
    cr_assert_eq(keys_add(&list, text, false), 0);
    text[KVR_KEY_MAX] = 'a';
    text[KVR_KEY_MAX + 1] = 0;
    cr_assert_eq(keys_add(&list, text, false), -EINVAL);
    text[KVR_KEY_MAX + 1] = 'a';
    text[2 * KVR_KEY_MAX] = 0;
    cr_assert_eq(keys_add(&list, text, true), 0);
    text[2 * KVR_KEY_MAX] = 'a';
    text[2 * KVR_KEY_MAX + 2] = 0;
    cr_assert_eq(keys_add(&list, text, true), -EINVAL);
    cr_assert_eq(list.nr, 2);
    keys_destroy(&list);
}

Test(keys, come_from_files_a_line_each)
{
    char path[] = "/tmp/kvrail-keys-XXXXXX";
    int fd = mkstemp(path);
    struct key_list list = {0};
    size_t line;

    cr_assert_eq(write(fd, "one\n\ntwo words\nthree", 20), 20);
    cr_assert_eq(keys_read(&list, path, false, &line), 0);
    cr_assert_eq(list.nr, 3);
    cr_assert_eq(list.keys[1].len, 9);
    cr_assert_arr_eq(list.keys[2].data, "three", 5);
    cr_assert_eq(keys_read(&list, path, true, &line), -EINVAL);
    cr_assert_eq(line, 1);
    cr_assert_eq(keys_read(&list, "/nonexistent/keys", true, &line), -ENOENT);
    cr_assert_eq(line, 0);
    keys_destroy(&list);
    close(fd);
    unlink(path);
}

Test(keys, are_shown_without_control_characters)
{
    struct kvr_key plain = {"user/42", 7}, binary = {"\x1b[2J\x00", 5};
    char text[64], small[8];
    json_t *object = json_object();

    cr_assert_str_eq(key_text(&plain, text, sizeof(text)), "user/42");
    cr_assert_str_eq(key_text(&binary, text, sizeof(text)), "0x1b5b324a00");
    cr_assert_str_eq(key_text(&plain, small, sizeof(small)), "user/42");
    plain.len = 8; /* with its zero */
    cr_assert_str_eq(key_text(&plain, small, sizeof(small)), "0x75..");
    plain = (struct kvr_key){"user/421", 8};
    cr_assert_str_eq(key_text(&plain, small, sizeof(small)), "user/..");
    plain.len = 7;
    cr_assert_str_eq(key_text(&binary, small, sizeof(small)), "0x1b..");
    key_json(object, &plain);
    cr_assert_str_eq(json_string_value(json_object_get(object, "key")), "user/42");
    key_json(object, &binary);
    cr_assert_str_eq(json_string_value(json_object_get(object, "key_hex")), "1b5b324a00");
    json_decref(object);
}
