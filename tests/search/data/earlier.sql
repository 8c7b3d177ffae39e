BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'earlier');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'tuner:series','{"name": "earlier", "number": 1}');
INSERT INTO "study_user_attributes" VALUES(2,1,'tuner:id','"4450c20bbe2f447fb7071746bb3699a4"');
INSERT INTO "study_user_attributes" VALUES(3,1,'tuner:deciding','"{\"plugin\": \"toy\", \"data\": {\"targets\": [1.0, 2.0], \"held_out\": [], \"file\": null, \"seconds\": 0.002, \"start_up\": null, \"slow_mode\": null, \"null\": null, \"log\": null, \"has_baseline\": true, \"baseline_mode\": \"reference\", \"width\": 1, \"luck\": 0.0, \"told\": false}, \"search_space\": {\"x\": {\"type\": \"float\", \"low\": -5.0, \"high\": 5.0, \"log\": false, \"step\": null}, \"size\": {\"type\": \"int\", \"low\": 1, \"high\": 5, \"log\": false, \"step\": 1}, \"mode\": {\"type\": \"categorical\", \"choices\": [\"fine\", \"nan\"]}, \"fixed\": {}}, \"objective\": [\"score\"], \"seed\": 3, \"sampler\": {\"name\": \"tpe\"}, \"pruner\": {\"name\": \"nop\"}, \"limits\": {\"case_time\": 600.0, \"memory\": null, \"threads\": 1}, \"timing\": {\"mode\": \"run\", \"fixed_cost\": true}, \"data_fingerprint\": \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}"');
INSERT INTO "study_user_attributes" VALUES(4,1,'tuner:signature','"b9ae86cf40abbbebe8163cf685d2efce3ab03627f337b44879b3aa1b6d1d603b"');
INSERT INTO "study_user_attributes" VALUES(5,1,'tuner:process_costs','"{\"machine\": \"MACHINE\", \"seconds\": {\"{}\": {}}}"');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'x',0.0,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -5.0, "high": 5.0, "log": false}}');
INSERT INTO "trial_params" VALUES(2,1,'size',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 5}}');
INSERT INTO "trial_params" VALUES(3,1,'mode',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fine", "nan"]}}');
INSERT INTO "trial_params" VALUES(4,2,'x',0.0,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -5.0, "high": 5.0, "log": false}}');
INSERT INTO "trial_params" VALUES(5,2,'size',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 5}}');
INSERT INTO "trial_params" VALUES(6,2,'mode',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fine", "nan"]}}');
INSERT INTO "trial_params" VALUES(7,3,'x',5.07979025745754597664e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -5.0, "high": 5.0, "log": false}}');
INSERT INTO "trial_params" VALUES(8,3,'size',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 5}}');
INSERT INTO "trial_params" VALUES(9,3,'mode',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fine", "nan"]}}');
INSERT INTO "trial_params" VALUES(10,4,'x',3.92946954347654653361e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -5.0, "high": 5.0, "log": false}}');
INSERT INTO "trial_params" VALUES(11,4,'size',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 5}}');
INSERT INTO "trial_params" VALUES(12,4,'mode',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fine", "nan"]}}');
INSERT INTO "trial_params" VALUES(13,5,'x',-4.48532796699170077658e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -5.0, "high": 5.0, "log": false}}');
INSERT INTO "trial_params" VALUES(14,5,'size',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 5}}');
INSERT INTO "trial_params" VALUES(15,5,'mode',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fine", "nan"]}}');
INSERT INTO "trial_params" VALUES(16,6,'x',1.49144047614760744124e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -5.0, "high": 5.0, "log": false}}');
INSERT INTO "trial_params" VALUES(17,6,'size',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 5}}');
INSERT INTO "trial_params" VALUES(18,6,'mode',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fine", "nan"]}}');
INSERT INTO "trial_params" VALUES(19,7,'x',-4.76018117622834679991e+00,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -5.0, "high": 5.0, "log": false}}');
INSERT INTO "trial_params" VALUES(20,7,'size',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 5}}');
INSERT INTO "trial_params" VALUES(21,7,'mode',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fine", "nan"]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'fixed_params','{"x": 0.0, "size": 5, "mode": "fine"}');
INSERT INTO "trial_system_attributes" VALUES(2,2,'fixed_params','{"x": 0.0, "size": 1, "mode": "fine"}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'tuner:role','"baseline"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'tuner:record','"{\"state\": \"complete\", \"params\": {\"x\": 0.0, \"size\": 5, \"mode\": \"reference\"}, \"searched\": {\"x\": 0.0, \"size\": 5, \"mode\": \"fine\"}, \"cases\": [{\"name\": \"target1\", \"metrics\": {\"fit\": -1.0, \"error\": 1.0, \"speedup\": 1.0, \"score\": 0.0}, \"seconds\": 0.010165773999915473, \"cpu_seconds\": 9.359099999994847e-05, \"run_seconds\": 0.010165773999915473, \"anchor\": 0.0007908770000000231, \"crowded\": 0.0, \"repeats\": 1, \"spread\": 0.0}, {\"name\": \"target2\", \"metrics\": {\"fit\": -4.0, \"error\": 4.0, \"speedup\": 1.0, \"score\": 0.0}, \"seconds\": 0.010143403999851586, \"cpu_seconds\": 8.81779999999388e-05, \"run_seconds\": 0.010143403999851586, \"anchor\": 0.00082442149999995, \"crowded\": 0.35965424348072583, \"repeats\": 1, \"spread\": 0.0}], \"metrics\": {\"fit\": -2.5, \"error\": 2.5, \"speedup\": 1.0, \"score\": 0.0, \"time\": 0.01015458899988353, \"speedup_low\": 0.8865567983526558, \"speedup_high\": 1.1134432016473441, \"score_low\": 0.0, \"score_high\": 0.0}, \"values\": [0.0], \"started\": \"2026-11-27T16:35:36.708273+00:00\", \"finished\": \"2026-11-27T16:35:37.237110+00:00\", \"reason\": null, \"is_baseline\": true}"');
INSERT INTO "trial_user_attributes" VALUES(3,2,'tuner:record','"{\"state\": \"complete\", \"params\": {\"x\": 0.0, \"size\": 1, \"mode\": \"fine\"}, \"searched\": {\"x\": 0.0, \"size\": 1, \"mode\": \"fine\"}, \"cases\": [{\"name\": \"target1\", \"metrics\": {\"fit\": -1.0, \"error\": 1.0, \"speedup\": 82.88091314223958, \"score\": 0.0}, \"seconds\": 0.00012265518820321213, \"cpu_seconds\": 0.00011840500000004361, \"run_seconds\": 0.00012265518820321213, \"anchor\": 0.0007533090000000353, \"crowded\": 0.9450274201312188, \"repeats\": 1, \"spread\": 0.0}, {\"name\": \"target2\", \"metrics\": {\"fit\": -4.0, \"error\": 4.0, \"speedup\": 79.05946059083018, \"score\": 0.0}, \"seconds\": 0.0001283009512593118, \"cpu_seconds\": 0.00011936900000009132, \"run_seconds\": 0.0001283009512593118, \"anchor\": 0.0007659480000000718, \"crowded\": 0.9432857392634606, \"repeats\": 1, \"spread\": 0.0}], \"metrics\": {\"fit\": -2.5, \"error\": 2.5, \"speedup\": 80.97018686653487, \"score\": 0.0, \"time\": 0.00012547806973126196, \"speedup_low\": 70.30084594291897, \"speedup_high\": 91.63952779015078, \"score_low\": 0.0, \"score_high\": 0.0}, \"values\": [0.0], \"started\": \"2026-11-27T16:35:37.814114+00:00\", \"finished\": \"2026-11-27T16:35:38.993220+00:00\", \"reason\": null, \"is_baseline\": false}"');
INSERT INTO "trial_user_attributes" VALUES(4,3,'tuner:record','"{\"state\": \"failed\", \"params\": {\"x\": 0.5079790257457546, \"size\": 4, \"mode\": \"nan\"}, \"searched\": {\"x\": 0.5079790257457546, \"size\": 4, \"mode\": \"nan\"}, \"cases\": [{\"name\": \"target1\", \"metrics\": {\"fit\": NaN, \"error\": NaN}, \"seconds\": 0.00813340144718548, \"cpu_seconds\": 7.482300000005715e-05, \"run_seconds\": 0.00813340144718548, \"anchor\": 0.000771755499999971, \"crowded\": 0.30859677124727025, \"repeats\": 1, \"spread\": 0.0}, {\"name\": \"target2\", \"metrics\": {\"fit\": NaN, \"error\": NaN}, \"seconds\": 0.00013570244425446047, \"cpu_seconds\": 0.0001266959999999262, \"run_seconds\": 0.00013570244425446047, \"anchor\": 0.0007581629999999784, \"crowded\": 0.9894552398251295, \"repeats\": 1, \"spread\": 0.0}], \"metrics\": {}, \"values\": [], \"started\": \"2026-11-27T16:35:39.308710+00:00\", \"finished\": \"2026-11-27T16:35:40.437159+00:00\", \"reason\": \"metric ''fit'' of case ''target1'' is not a finite number\", \"is_baseline\": false}"');
INSERT INTO "trial_user_attributes" VALUES(5,4,'tuner:record','"{\"state\": \"failed\", \"params\": {\"x\": 3.9294695434765465, \"size\": 5, \"mode\": \"nan\"}, \"searched\": {\"x\": 3.9294695434765465, \"size\": 5, \"mode\": \"nan\"}, \"cases\": [{\"name\": \"target1\", \"metrics\": {\"fit\": NaN, \"error\": NaN}, \"seconds\": 0.00011057747464091125, \"cpu_seconds\": 0.0001087070000000967, \"run_seconds\": 0.00011057747464091125, \"anchor\": 0.0008178939999999857, \"crowded\": 0.9892709788698368, \"repeats\": 1, \"spread\": 0.0}, {\"name\": \"target2\", \"metrics\": {\"fit\": NaN, \"error\": NaN}, \"seconds\": 0.008559434598137943, \"cpu_seconds\": 0.00010291100000014985, \"run_seconds\": 0.008559434598137943, \"anchor\": 0.0008322135000000674, \"crowded\": 0.4621579085028923, \"repeats\": 1, \"spread\": 0.0}], \"metrics\": {}, \"values\": [], \"started\": \"2026-11-27T16:35:40.629838+00:00\", \"finished\": \"2026-11-27T16:35:41.465347+00:00\", \"reason\": \"metric ''fit'' of case ''target1'' is not a finite number\", \"is_baseline\": false}"');
INSERT INTO "trial_user_attributes" VALUES(6,5,'tuner:record','"{\"state\": \"failed\", \"params\": {\"x\": -4.485327966991701, \"size\": 3, \"mode\": \"nan\"}, \"searched\": {\"x\": -4.485327966991701, \"size\": 3, \"mode\": \"nan\"}, \"cases\": [{\"name\": \"target1\", \"metrics\": {\"fit\": NaN, \"error\": NaN}, \"seconds\": 0.006143563190171955, \"cpu_seconds\": 6.249299999994129e-05, \"run_seconds\": 0.006143563190171955, \"anchor\": 0.0007462230000000458, \"crowded\": 0.45791451815378903, \"repeats\": 1, \"spread\": 0.0}, {\"name\": \"target2\", \"metrics\": {\"fit\": NaN, \"error\": NaN}, \"seconds\": 0.0016979316361784437, \"cpu_seconds\": 8.171099999998432e-05, \"run_seconds\": 0.0016979316361784437, \"anchor\": 0.0008104715000000207, \"crowded\": 0.860594956572487, \"repeats\": 1, \"spread\": 0.0}], \"metrics\": {}, \"values\": [], \"started\": \"2026-11-27T16:35:41.684708+00:00\", \"finished\": \"2026-11-27T16:35:42.209234+00:00\", \"reason\": \"metric ''fit'' of case ''target1'' is not a finite number\", \"is_baseline\": false}"');
INSERT INTO "trial_user_attributes" VALUES(7,6,'tuner:record','"{\"state\": \"complete\", \"params\": {\"x\": 1.4914404761476074, \"size\": 2, \"mode\": \"fine\"}, \"searched\": {\"x\": 1.4914404761476074, \"size\": 2, \"mode\": \"fine\"}, \"cases\": [{\"name\": \"target1\", \"metrics\": {\"fit\": -0.24151374159618713, \"error\": 0.24151374159618713, \"speedup\": 2.457481048155719, \"score\": 1.189029981862504}, \"seconds\": 0.0041366642512033385, \"cpu_seconds\": 7.837799999999007e-05, \"run_seconds\": 0.0041366642512033385, \"anchor\": 0.000750939000000117, \"crowded\": 0.4633778596075757, \"repeats\": 1, \"spread\": 0.0}, {\"name\": \"target2\", \"metrics\": {\"fit\": -0.2586327893009722, \"error\": 0.2586327893009722, \"speedup\": 71.62588604159669, \"score\": 31.663968110655013}, \"seconds\": 0.0001416164540563004, \"cpu_seconds\": 0.00013042000000007548, \"run_seconds\": 0.0001416164540563004, \"anchor\": 0.0007525140000000929, \"crowded\": 0.9836170453578216, \"repeats\": 1, \"spread\": 0.0}], \"metrics\": {\"fit\": -0.25007326544857966, \"error\": 0.25007326544857966, \"speedup\": 37.0416835448762, \"score\": 16.42649904625876, \"time\": 0.0021391403526298193, \"speedup_low\": 29.47905673299052, \"speedup_high\": 44.60431035676188, \"score_low\": 14.75476494854961, \"score_high\": 18.098233143967906}, \"values\": [16.42649904625876], \"started\": \"2026-11-27T16:35:42.524933+00:00\", \"finished\": \"2026-11-27T16:35:43.377158+00:00\", \"reason\": null, \"is_baseline\": false}"');
INSERT INTO "trial_user_attributes" VALUES(8,7,'tuner:record','"{\"state\": \"failed\", \"params\": {\"x\": -4.760181176228347, \"size\": 3, \"mode\": \"nan\"}, \"searched\": {\"x\": -4.760181176228347, \"size\": 3, \"mode\": \"nan\"}, \"cases\": [{\"name\": \"target1\", \"metrics\": {\"fit\": NaN, \"error\": NaN}, \"seconds\": 0.006158786143961551, \"cpu_seconds\": 7.103299999999813e-05, \"run_seconds\": 0.006158786143961551, \"anchor\": 0.0007556690000000144, \"crowded\": 0.4681095501898561, \"repeats\": 1, \"spread\": 0.0}, {\"name\": \"target2\", \"metrics\": {\"fit\": NaN, \"error\": NaN}, \"seconds\": 0.00012520742860901434, \"cpu_seconds\": 0.00011583100000001068, \"run_seconds\": 0.00012520742860901434, \"anchor\": 0.0007603795000000746, \"crowded\": 0.9903613637733101, \"repeats\": 1, \"spread\": 0.0}], \"metrics\": {}, \"values\": [], \"started\": \"2026-11-27T16:35:43.672149+00:00\", \"finished\": \"2026-11-27T16:35:44.724208+00:00\", \"reason\": \"metric ''fit'' of case ''target1'' is not a finite number\", \"is_baseline\": false}"');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,0.0,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,0.0,'FINITE');
INSERT INTO "trial_values" VALUES(3,6,0,1.64264990462587583412e+01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-27 16:35:35.794350','2026-11-27 16:35:37.331016');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-27 16:35:37.561671','2026-11-27 16:35:39.066502');
INSERT INTO "trials" VALUES(3,2,1,'FAIL','2026-11-27 16:35:39.156916','2026-11-27 16:35:40.469777');
INSERT INTO "trials" VALUES(4,3,1,'FAIL','2026-11-27 16:35:40.500129','2026-11-27 16:35:41.535912');
INSERT INTO "trials" VALUES(5,4,1,'FAIL','2026-11-27 16:35:41.588982','2026-11-27 16:35:42.329754');
INSERT INTO "trials" VALUES(6,5,1,'COMPLETE','2026-11-27 16:35:42.409072','2026-11-27 16:35:43.466012');
INSERT INTO "trials" VALUES(7,6,1,'RUNNING','2026-11-27 16:35:43.532965',NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
