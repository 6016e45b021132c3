/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From a line of JSON to a request, from a document to a line. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "serve.h"

enum { ID_MAX_BYTES = 256, WIDTH_MAX = 10000 };

/* ---- lines --------------------------------------------------------------- */

static bool is_id(const json_t *id)
{
	return json_is_integer(id) || json_is_null(id) ||
	       (json_is_string(id) && json_string_length(id) <= ID_MAX_BYTES);
}

static const char *check_args(const json_t *args)
{
	size_t i;
	const json_t *arg;

	if (args && !json_is_array(args))
		return "args is no list";
	json_array_foreach(args, i, arg)
		if (!json_is_string(arg))
			return "args is no list of strings";
	return NULL;
}

static const char *check_question(const json_t *json)
{
	const json_t *form = json_object_get(json, "form"), *width = json_object_get(json, "width");
	const char *name = json_string_value(form);

	if (!json_is_string(json_object_get(json, "command")))
		return "command is missing, or no string";
	if (form && (!name || (strcmp(name, "json") != 0 && strcmp(name, "text") != 0)))
		return "form is json or text";
	if (width && (!json_is_integer(width) || json_integer_value(width) < 0 ||
		      json_integer_value(width) > WIDTH_MAX))
		return "width is no number of columns";
	return check_args(json_object_get(json, "args"));
}

const char *ca_question_parse(const char *line, size_t length, struct ca_question *question)
{
	json_t *json = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
	json_t *cancel = json_object_get(json, "cancel");

	*question = (struct ca_question){json, cancel ? cancel : json_object_get(json, "id"), cancel};
	if (!json)
		return "the line is no JSON";
	if (!json_is_object(json))
		return "the line is no JSON object";
	if (question->id && !is_id(question->id)) {
		question->id = NULL;
		return "id is no number and no string of up to 256 bytes";
	}
	return cancel ? NULL : check_question(json);
}

/* UTF-8, whatever it was. */
static json_t *clean_string(const char *text)
{
	struct ca_arena scratch = {0};
	json_t *string = json_string(ca_escape_arena(&scratch, text, strlen(text)));

	ca_arena_fini(&scratch);
	return string;
}

char *ca_error_line(const json_t *id, const struct ca_error *err)
{
	json_t *line = json_pack("{s:o, s:b, s:{s:i, s:o, s:o, s:o}}", "id",
				 id ? json_incref((json_t *)id) : json_null(), "ok", 0, "error",
				 "status", (int)err->status, "what", clean_string(err->what), "why",
				 clean_string(err->why), "advice", clean_string(err->advice));
	char *text = json_dumps(line, 0);

	json_decref(line);
	return text ? text : ca_strdup("{\"id\": null, \"ok\": false, \"error\": {\"status\": 4}}");
}

/* ---- what serve itself can do ------------------------------------------------ */

static void put_options(struct ca_writer *w, const struct argp_option *option, bool common)
{
	for (; option && (option->name || option->key); option++) {
		ca_object_begin(w, NULL);
		ca_put_string(w, "name", option->name);
		ca_put_string(w, "arg", option->arg);
		ca_put_string(w, "summary", option->doc);
		ca_put_bool(w, "common", common);
		ca_object_end(w);
	}
}

static void put_command(struct ca_writer *w, const struct ca_command *command)
{
	ca_object_begin(w, NULL);
	ca_put_string(w, "name", command->name);
	ca_put_string(w, "args", command->args);
	ca_put_uint(w, "targets", command->targets ? command->targets : 1);
	ca_put_string(w, "summary", command->summary);
	ca_put_string(w, "help", command->help);
	ca_list_begin(w, "options");
	put_options(w, command->options, false);
	put_options(w, ca_common_options, true);
	ca_list_end(w);
	ca_object_end(w);
	ca_line(w, "%-10s %s", command->name, command->summary);
}

static void put_commands(struct ca_writer *w, struct ca_targets *targets)
{
	(void)targets;
	ca_list_begin(w, "commands");
	for (size_t i = 0; i < ca_command_count; i++)
		if (!ca_commands[i]->alone)
			put_command(w, ca_commands[i]);
	ca_list_end(w);
}

void ca_commands_print(void)
{
	struct ca_writer *w = ca_writer_open(stdout, &(struct ca_writer_options){.form = CA_FORM_JSON});

	ca_object_begin(w, NULL);
	ca_put_string(w, "schema", "coreanalyze.commands/1");
	put_commands(w, NULL);
	ca_object_end(w);
	ca_error_free(ca_writer_close(w));
}

static void put_target(void *arg, const char *name, const struct ca_session *session)
{
	struct ca_writer *w = arg;

	ca_object_begin(w, NULL);
	ca_put_string(w, "name", name);
	ca_put_string(w, "path", session->image->path);
	ca_object_end(w);
	ca_line(w, "%s  %s", name, session->image->path);
}

static void put_targets(struct ca_writer *w, struct ca_targets *targets)
{
	ca_list_begin(w, "targets");
	ca_targets_each(targets, put_target, w);
	ca_list_end(w);
}

static struct ca_error *do_open(struct ca_targets *targets, char **args, size_t count)
{
	(void)count;
	return ca_targets_open(targets, args[0], args[1]);
}

static struct ca_error *do_close(struct ca_targets *targets, char **args, size_t count)
{
	(void)count;
	return ca_targets_close(targets, args[0])
		       ? NULL
		       : ca_error_make(CA_USAGE, "no such target", "", "nothing is open under this name");
}

static struct ca_error *do_keep(struct ca_targets *targets, char **args, size_t count)
{
	(void)count;
	return ca_targets_keep(targets, args[0]);
}

static struct ca_error *do_refresh(struct ca_targets *targets, char **args, size_t count)
{
	ca_targets_refresh(targets, count ? args[0] : NULL);
	return NULL;
}

static const struct verb {
	const char *name;
	size_t least, most; /* arguments */
	struct ca_error *(*run)(struct ca_targets *targets, char **args, size_t count);
	void (*put)(struct ca_writer *w, struct ca_targets *targets);
} verbs[] = {
	{"open", 2, 2, do_open, NULL},        {"close", 1, 1, do_close, NULL},
	{"keep", 1, 1, do_keep, NULL},        {"refresh", 0, 1, do_refresh, NULL},
	{"targets", 0, 0, NULL, put_targets}, {"commands", 0, 0, NULL, put_commands},
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < CA_COUNT(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

static struct ca_error *run_verb(const struct verb *verb, struct ca_targets *targets,
				 struct ca_request *request)
{
	struct ca_error *err = NULL;

	if (request->arg_count < verb->least || request->arg_count > verb->most)
		return ca_error_make(CA_USAGE, verb->name, "", "it does not take %zu arguments",
				     request->arg_count);
	if (verb->run)
		err = verb->run(targets, request->args, request->arg_count);
	if (err)
		return err;

	struct ca_writer *w = ca_open_writer(request);
	char schema[64];

	snprintf(schema, sizeof(schema), "coreanalyze.%s/1", verb->name);
	ca_object_begin(w, NULL);
	ca_put_string(w, "schema", schema);
	if (verb->put)
		verb->put(w, targets);
	ca_object_end(w);
	return ca_writer_close(w);
}

/* ---- commands ------------------------------------------------------------------ */

/* argv[0], the target where there is just one, the words as they were given. */
static char **make_argv(const json_t *args, const char *target, int *argc)
{
	size_t count = json_array_size(args);
	char **argv = ca_alloc((count + 3) * sizeof(*argv));

	*argc = 1;
	if (target)
		argv[(*argc)++] = ca_strdup(target);
	for (size_t i = 0; i < count; i++)
		argv[(*argc)++] = ca_strdup(json_string_value(json_array_get(args, i)));
	return argv;
}

static void free_argv(char **argv, int argc)
{
	for (int i = 1; i < argc; i++)
		free(argv[i]);
	free(argv);
}

static struct ca_error *misuse(const struct ca_command *command, const char *why)
{
	const char *args = command->args;
	char advice[128];

	for (size_t i = 0; i < (command->targets > 1 ? 0 : 1) && *args; i++)
		args += strcspn(args, " ") + (strchr(args, ' ') != NULL);
	snprintf(advice, sizeof(advice), "it takes %s", *args ? args : "options alone");
	return ca_error_make(CA_USAGE, command->name, advice, "%s", why);
}

/* Of two targets the first may be left out. */
static void add_target(struct ca_request *request)
{
	if (request->arg_count >= request->command->targets)
		return;
	request->args = ca_realloc(request->args, (request->arg_count + 1) * sizeof(*request->args));
	memmove(request->args + 1, request->args, request->arg_count * sizeof(*request->args));
	request->args[0] = (char *)".";
	request->arg_count++;
}

static struct ca_error *check_request(struct ca_request *request)
{
	const struct ca_command *command = request->command;

	if (request->files.exe || request->files.sysroot || request->files.debug_dir ||
	    request->files.tmp_dir)
		return misuse(command, "where files are is said when `serve` is started");
	add_target(request);
	if (request->arg_count < command->least_args)
		return misuse(command, "arguments are missing");
	return request->arg_count > command->most_args ? misuse(command, "too many arguments") : NULL;
}

static struct ca_error *run_command(struct ca_request *request, const json_t *args,
				    enum ca_status *status)
{
	int argc;
	char **argv = make_argv(args, request->command->targets > 1 ? NULL : ".", &argc);
	struct ca_error *err;

	if (ca_request_parse(request, argc, argv))
		err = check_request(request);
	else
		err = misuse(request->command, request->asked->misuse);
	if (!err)
		err = request->command->run(request, status);
	ca_request_fini(request);
	free_argv(argv, argc);
	return err;
}

static struct ca_error *run_question(struct ca_asked *asked, const struct ca_question *question,
				     enum ca_form form, enum ca_status *status)
{
	const char *name = json_string_value(json_object_get(question->json, "command"));
	const json_t *args = json_object_get(question->json, "args");
	const struct verb *verb = find_verb(name);
	struct ca_request request = {
		.command = ca_command_find(name),
		.form = form,
		.limit = -1,
		.color = json_is_true(json_object_get(question->json, "color")) ? CA_ALWAYS : CA_NEVER,
		.progress = CA_NEVER,
		.asked = asked,
	};
	char word[64];

	if (request.command && !request.command->alone)
		return run_command(&request, args, status);
	if (!verb) {
		ca_escape(word, sizeof(word), name, strlen(name));
		return ca_error_make(CA_USAGE, word, "`commands` lists them", "no such command");
	}

	int argc;
	char **argv = make_argv(args, NULL, &argc);

	request.args = argv + 1;
	request.arg_count = (size_t)argc - 1;

	struct ca_error *err = run_verb(verb, asked->targets, &request);

	free_argv(argv, argc);
	return err;
}

/* ---- the line ------------------------------------------------------------------ */

static void put_error(FILE *out, const struct ca_question *question, const struct ca_error *err)
{
	char *line = ca_error_line(question->id, err);

	fprintf(out, "%s\n", line);
	free(line);
}

static void put_head(FILE *out, const struct ca_question *question, enum ca_status status)
{
	char *id = json_dumps(question->id ? question->id : json_null(), JSON_ENCODE_ANY);

	fprintf(out, "{\"id\": %s, \"ok\": true, \"status\": %d, \"document\": ", id, (int)status);
	free(id);
}

static void put_text(FILE *out, const char *text, size_t length)
{
	json_t *string = json_stringn(text, length);

	if (!string)
		string = json_string("(text that is no UTF-8)");
	json_dumpf(string, out, JSON_ENCODE_ANY);
	json_decref(string);
}

bool ca_question_answer(struct ca_targets *targets, const struct ca_question *question, FILE *out)
{
	const char *form = json_string_value(json_object_get(question->json, "form"));
	bool text = form && strcmp(form, "text") == 0;
	struct ca_asked asked = {
		.width = (unsigned)json_integer_value(json_object_get(question->json, "width")),
		.targets = targets,
	};
	enum ca_status status = CA_OK;
	char *document = NULL;
	size_t length = 0;

	asked.out = open_memstream(&document, &length);
	if (!asked.out)
		_exit(CA_INTERNAL);

	struct ca_error *err = run_question(&asked, question, text ? CA_FORM_TEXT : CA_FORM_JSON, &status);
	bool good = !err;

	fclose(asked.out);
	if (err) {
		put_error(out, question, err);
	} else {
		put_head(out, question, status);
		if (text)
			put_text(out, document, length);
		else
			fwrite(document, 1, length && document[length - 1] == '\n' ? length - 1 : length, out);
		fputs("}\n", out);
	}
	ca_error_free(err);
	free(document);
	return good;
}
